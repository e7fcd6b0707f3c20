"""The command from outside: predict.sh under a POSIX shell, its exit codes, what it must not import."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.inference.fakes import SHAPE, read_output, write_broken_weights, write_case
from vesal import __version__
from vesal.inference.output import logs

ROOT = Path(__file__).resolve().parents[3]
SHELL = shutil.which("dash") or "sh"


def predict(
    *arguments: object, cwd: Path, script: Path = ROOT / "predict.sh", **variables: str
) -> tuple[int, str]:
    """Run predict.sh with this Python; return its exit code and all it says."""
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, **variables}
    command = [SHELL, str(script), *map(str, arguments)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_script_is_short_and_replaces_itself(root: Path) -> None:
    """Under ten lines, POSIX and strict, one exec as the last of them: the process keeps its start time."""
    lines = (root / "predict.sh").read_text().splitlines()
    assert len(lines) < 10
    assert lines[0] == "#!/bin/sh"
    assert "set -eu" in lines
    assert [line for line in lines if line.startswith("exec ")] == [lines[-1]]


def test_help_and_version(tmp_path: Path) -> None:
    """Both are code 0 and say something."""
    code, shown = predict("--help", cwd=tmp_path)
    assert code == 0
    assert "--seconds" in shown
    assert predict("--version", cwd=tmp_path) == (0, f"vesal {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--nope",), "unrecognized arguments: --nope"),
        (("empty", "out"), "empty holds no NAME.npz; put the cases directly into it"),
        (("absent", "out"), "absent does not exist"),
        (("empty", "out", "--seconds", "-1"), "seconds is -1.0"),
    ],
)
def test_wrong_usage_is_code_2(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    """One line says what to do, without a traceback; relative paths belong to the caller's folder."""
    (tmp_path / "empty").mkdir()
    code, shown = predict(*arguments, cwd=tmp_path)
    assert code == 2
    assert message in shown
    assert len(shown.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_unreadable_case_is_code_1_and_has_an_output(tmp_path: Path) -> None:
    """The whole command, from a folder with blanks in its name that holds a package of our name."""
    here = tmp_path / "my cases"
    (here / "in" / "nested").mkdir(parents=True)
    (here / "vesal").mkdir()
    (here / "vesal" / "__init__.py").write_text("raise SystemExit('the wrong package')")
    (here / "in" / "a b.npz").write_bytes(b"PK\x03\x04 cut short")
    write_case(here / "in" / "nested" / "not read.npz")
    code, shown = predict("in", "out", cwd=here)
    assert code == 1, shown
    assert [path.name for path in (here / "out").iterdir()] == ["a b.npz"]
    np.testing.assert_array_equal(read_output(here / "out" / "a b.npz"), np.zeros((1, 1, 1)))
    assert (here / "report.json").is_file()


@pytest.mark.parametrize("wrong", ["absent", "not JSON", "a stage of another kind"])
def test_weights_that_cannot_be_used_are_code_2(tmp_path: Path, wrong: str) -> None:
    """One line names file and field, before any case is begun: nothing is written."""
    (tmp_path / "in").mkdir()
    write_case(tmp_path / "in" / "a.npz")
    weights, said = tmp_path / "mine", "mine/manifest.json cannot be read"
    if wrong == "not JSON":
        write_broken_weights(weights)
        (weights / "manifest.json").write_text("{")
        said = "mine/manifest.json is not JSON"
    elif wrong == "a stage of another kind":
        write_broken_weights(weights)
        content = json.loads((weights / "manifest.json").read_text())
        content["stages"][1]["rounds"] = "two"
        (weights / "manifest.json").write_text(json.dumps(content))
        said = "Expected `int`, got `str` - at `$.stages[1].rounds`"
    code, shown = predict("in", "out", "--weights", weights, cwd=tmp_path)
    assert code == 2 and said in shown and "Traceback" not in shown
    assert not (tmp_path / "report.json").exists()
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    ("arguments", "variable", "budget_s"),
    [((), "", 597.0), ((), "612.5", 612.5), (("--seconds", "609"), "612.5", 609.0)],
)
def test_seconds_come_from_flag_or_variable(
    tmp_path: Path, arguments: tuple[str, ...], variable: str, budget_s: float
) -> None:
    """Through the script: the flag wins over the variable, both over 60 s a prompt less what surrounds us.

    Ten prompts, and many seconds: none of them is waited for, and no machine is too slow for them.
    """
    (tmp_path / "in").mkdir()
    sentences = {str(i): "Liver in abdominal CT" for i in range(1, 11)}
    write_case(tmp_path / "in" / "a.npz", prompts=sentences | {"instance_label": 0})
    broken = write_broken_weights(tmp_path / "broken")
    code, shown = predict("in", "out", "--weights", broken, *arguments, cwd=tmp_path, VESAL_SECONDS=variable)
    assert code == 1, shown
    assert json.loads((tmp_path / "report.json").read_text())["cases"][0]["budget_s"] == budget_s


def test_sigterm_before_the_cases_are_known(tmp_path: Path) -> None:
    """A signal while the command line is still being read ends the run, with an output for every case.

    The shapes are waited for as long as it takes to read them.
    """
    (tmp_path / "in").mkdir()
    for name in "ab":
        write_case(tmp_path / "in" / f"{name}.npz")
    code = (
        "import signal, sys; from vesal.inference.runner import command as program\n"
        "read = program.read_settings\n"
        "def early(arguments): signal.raise_signal(signal.SIGTERM); return read(arguments)\n"
        "program.read_settings = early; start = program.process_start_monotonic\n"
        "def patient(): from vesal.inference.runner import run; run.PEEK_S = 300.0; return start()\n"
        "program.process_start_monotonic = patient; sys.exit(program.main(['in', 'out']))"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, check=False
    )
    assert done.returncode == 143, done.stderr
    for name in "ab":
        np.testing.assert_array_equal(read_output(tmp_path / "out" / f"{name}.npz"), np.zeros(SHAPE))


@pytest.mark.parametrize(("variable", "runs"), [("", ".venv"), ("{folder}/chosen", "chosen")])
def test_script_finds_the_environment_beside_it(tmp_path: Path, variable: str, runs: str) -> None:
    """`.venv` beside the script serves a fresh clone; PYTHON wins over it."""
    folder = tmp_path / "a clone"
    for name in (".venv/bin/python", "chosen"):
        program = folder / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f'#!/bin/sh\necho "{name.partition("/")[0]}|$PYTHONPATH|$*"\n')
        program.chmod(0o755)
    script = Path(shutil.copy(ROOT / "predict.sh", folder))
    code, shown = predict("x y", cwd=tmp_path, script=script, PYTHON=variable.format(folder=folder))
    assert (code, shown) == (0, f"{runs}|{folder}|-m vesal x y\n")


HEAVY = ("torch", "scipy", "matplotlib", "openvino", "onnxruntime", "tokenizers", "tqdm", "urllib.request")


@pytest.mark.parametrize(
    ("code", "more"),
    [
        ("import vesal.inference.runner.command", ("numpy",)),
        ("import vesal.inference.runner.run", ()),
        ("import vesal.inference.runtime.choice", ()),
        ("from vesal.inference.runner.command import main; assert main(['absent', 'out']) == 2", ()),
    ],
)
def test_start_imports_nothing_heavy(tmp_path: Path, code: str, more: tuple[str, ...]) -> None:
    """What a case may never need is not paid for at the start."""
    check = f"\nimport sys; print([name for name in {HEAVY + more} if name in sys.modules])"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code + check]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


OF_OWN_SCANS = ("identify", "agreement", "overlaps")
"""Modules of `stages` that a challenge case with sentences has no use for."""


def test_a_case_with_sentences_imports_nothing_of_marks_without_names(tmp_path: Path) -> None:
    """What the engine needs for them, and for masks that overlap, is imported where it is used."""
    code = (
        "from tests.inference.fake_models import made_image, make_engine, make_prompt, segment\n"
        "image = made_image((32, 32, 32), ((slice(8, 20),) * 3, 200))\n"
        "assert segment(make_engine(), image, [make_prompt(1, 'liver')]).labels.any()\n"
        f"import sys; print([n for n in {OF_OWN_SCANS} if f'vesal.inference.stages.{{n}}' in sys.modules])"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


class Terminal(io.StringIO):
    """Standard error as a terminal."""

    def isatty(self) -> bool:
        """Yes."""
        return True


@pytest.mark.parametrize(
    ("stream", "verbosity", "drawn"), [(Terminal, 0, True), (Terminal, -1, False), (io.StringIO, 0, False)]
)
def test_bar_only_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], verbosity: int, drawn: bool
) -> None:
    """A bar where somebody watches and wants to; its steps can be counted anyway."""
    shown = stream()
    monkeypatch.setattr(sys, "stderr", shown)
    logs.set_up(verbosity)
    with logs.bar(4, "windows") as bar:
        bar.update(3)
        bar.update()
    assert ("windows" in shown.getvalue()) == drawn


def test_lines_stand_above_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that is logged while a bar is drawn starts in the first column."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    logs.set_up()
    with logs.bar(4, "windows") as bar:
        bar.update(2)
        logs.log.info("a line of its own")
    assert any(
        line.endswith("a line of its own") and "windows" not in line for line in _drawn(shown.getvalue())
    )


def _drawn(text: str) -> list[str]:
    """What a terminal shows line by line: a carriage return begins the line anew."""
    return [line.split("\r")[-1] for line in text.split("\n")]


def test_set_up_twice_says_things_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings pass with -q, information does not."""
    shown = io.StringIO()
    monkeypatch.setattr(sys, "stderr", shown)
    logs.set_up()
    logs.set_up(-1)
    logs.log.warning("careful")
    logs.log.info("by the way")
    assert shown.getvalue().count("careful") == 1
    assert "by the way" not in shown.getvalue()
