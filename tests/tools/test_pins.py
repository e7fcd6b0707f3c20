"""The lists that pip is handed: what a group holds, what an extra stands for, and what is left out."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools.pins import main, resolve

GROUPS = {"runtime": ["a==1"], "one": ["b==2"], "two": ["x[one,runtime]", "c==3", "b==2"]}


def test_an_extra_may_stand_for_others() -> None:
    assert resolve(GROUPS, "two", own="x") == ["b==2", "a==1", "c==3"]


def test_it_runs_with_nothing_but_python(root: Path, tmp_path: Path) -> None:
    """As the image's builder runs it, from any folder."""
    command = [sys.executable, "-I", "-S", str(root / "tools" / "pins.py"), "runtime"]
    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert any(line.startswith("numpy==") for line in done.stdout.splitlines())


def test_what_is_left_out_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runtime", "gpu", "--without", "openvino"]) == 0
    names = [line.partition("==")[0] for line in capsys.readouterr().out.splitlines()]
    assert {"numpy", "onnxruntime-gpu"} <= set(names)
    assert "openvino" not in names


@pytest.mark.parametrize("arguments", [["nope"], ["runtime", "--without", "scipy"], []])
def test_unknown_names_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert capsys.readouterr().out == ""
