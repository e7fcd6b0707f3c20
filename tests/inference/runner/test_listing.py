"""`vesal --list`: the weights that are there, and the targets of one of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.inference.planning.test_profile import manifest, write
from tests.inference.planning.test_provenance import TOLD
from tests.inference.runner.test_command import ROOT, predict
from vesal.inference.data.errors import UsageError
from vesal.inference.runner.listing import list_weights


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder with weights `made`, a text encoder, and one that only has its rules."""
    (tmp_path / "made").mkdir()
    write(tmp_path / "made", manifest() | {"provenance": TOLD})
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "manifest.json").write_text('{"model": "an encoder"}')
    (tmp_path / "unconverted" / "profile").mkdir(parents=True)
    return tmp_path


def cells(line: str) -> list[str]:
    """The cells of a line: columns are two blanks apart."""
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_the_command_lists_the_weights(tmp_path: Path) -> None:
    code, shown = predict("--list", cwd=tmp_path)
    head, nano = shown.splitlines()
    assert code == 0
    assert cells(head) == ["name", "family", "modalities", "targets", "licence", "size", "paper"]
    assert cells(nano)[:2] == ["nano", "nano"] and "CC BY-NC-SA 4.0" in nano


def test_the_command_lists_the_targets_of_one(tmp_path: Path) -> None:
    code, shown = predict("--list", "nano", cwd=tmp_path)
    told = json.loads((ROOT / "weights" / "nano" / "manifest.json").read_text())
    lines = shown.splitlines()
    rows = [cells(line) for line in lines[lines.index("") + 2 :]]
    assert code == 0 and len(rows) == len(told["targets"])
    liver = next(row for row in rows if row[0] == "liver")
    (wanted,) = (t for t in told["targets"] if t["concept"] == "liver")
    assert liver[1:3] == ["CT", f"{wanted['dsc']:.3f}"] and "hepatic" in liver[3]
    assert "this one" in shown and "Apache-2.0" in shown


def test_unknown_weights_are_code_2_and_the_known_ones_are_named(tmp_path: Path) -> None:
    code, shown = predict("--list", "nanno", cwd=tmp_path)
    assert code == 2 and "no weights 'nanno'; known are: nano." in shown
    assert len(shown.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_a_reader_that_stops_is_no_error() -> None:
    command = [sys.executable, "-m", "vesal", "--list", "nano"]
    read, write_end = os.pipe()
    os.close(read)
    done = subprocess.run(command, cwd=ROOT, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_runtime_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom vesal.inference.runner.command import main\n"
        "try: main(['--list', 'nano'])\nexcept SystemExit as end: assert not end.code\n"
        "print([n for n in ('openvino', 'onnxruntime', 'torch', 'tokenizers') if n in sys.modules])"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_only_profiles_are_listed(weights: Path) -> None:
    head, made = list_weights(weights=weights).splitlines()
    assert cells(made) == ["made", "nano", "CT, MR", "3", "Apache-2.0", "0.0 MB", TOLD["paper"]]
    assert made.index("nano") == head.index("family"), "columns are aligned"


def test_weights_that_cannot_be_used_are_told_beside_the_others(weights: Path) -> None:
    (weights / "cut").mkdir()
    (weights / "cut" / "manifest.json").write_text("{")
    *_, made, cut = list_weights(weights=weights).splitlines()
    assert made.startswith("made") and cut.startswith("cut cannot be used") and "is not JSON" in cut
    with pytest.raises(UsageError, match="is not JSON"):
        list_weights("cut", weights)


def test_what_was_not_measured_is_a_dash(weights: Path) -> None:
    rows = [cells(line) for line in list_weights("made", weights).splitlines()]
    assert ["left kidney", "CT", "-"] in [row[:3] for row in rows]
    assert ["liver", "CT", "0.900"] in [row[:3] for row in rows]
    assert ["licence of the weights", "-"] in rows
    assert ["made of (coarse)", f"a.pth, sha256 {'0' * 64}"] in rows


def test_the_path_of_a_folder_will_do(weights: Path) -> None:
    assert list_weights(str(weights / "made"), weights) == list_weights("made", weights)
