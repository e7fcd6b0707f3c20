"""Cases through command and Python call with the family ``voxtell``: npz and NIfTI, and what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the graphs are written with onnx")
pytest.importorskip("onnxruntime", reason="the graphs are run")
nibabel = pytest.importorskip("nibabel", reason="files are written with nibabel")

from tests.inference.fakes import read_output, run_command  # noqa: E402
from tests.inference.families.test_voxtell import ONE, OTHER, SHAPE, image, share_of  # noqa: E402
from tests.samples.voxtell_weights import write_voxtell_weights  # noqa: E402
from vesal.inference.api import load  # noqa: E402
from vesal.inference.data.errors import ProfileError  # noqa: E402
from vesal.inference.data.orientation import CANONICAL, AxisCodes, towards  # noqa: E402
from vesal.inference.io.file_axes import FileAxes  # noqa: E402

SIDES = {"1": "Right kidney", "2": "left kidney in abdominal CT"}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete folder."""
    return write_voxtell_weights(tmp_path_factory.mktemp("voxtell") / "weights")


def write_npz(folder: Path, asked: dict[str, Any], **more: Any) -> Path:
    """A case of the challenge."""
    folder.mkdir(exist_ok=True)
    prompts = np.array({**asked, "instance_label": 0})
    np.savez(folder / "case.npz", imgs=image(), spacing=np.ones(3), text_prompts=prompts, **more)
    return folder


def write_nifti(folder: Path, codes: AxisCodes, asked: dict[str, str]) -> tuple[Path, FileAxes]:
    """The same as a scan in Hounsfield units that lies in another way, with its prompts beside it."""
    folder.mkdir(exist_ok=True)
    way = towards(CANONICAL, codes)
    axes = FileAxes(SHAPE, np.diag([-1.0, -1.0, 1.0, 1.0]), CANONICAL).turned(way)
    numbers = np.ascontiguousarray(way.turn(image().astype(np.int16) * 8 - 1000))
    nibabel.save(nibabel.Nifti1Image(numbers.transpose(), axes.affine), folder / "case.nii.gz")
    (folder / "case.json").write_text(json.dumps(asked))
    return folder, axes


def test_a_case_of_the_challenge(weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run_command(write_npz(tmp_path / "in", SIDES), out, "--weights", weights, "-q") == 0
    labels = read_output(out / "case.npz")
    assert labels.shape == SHAPE
    assert share_of(labels, ONE, 1) == share_of(labels, OTHER, 2) == 1


@pytest.mark.parametrize("codes", [("S", "P", "L"), ("S", "A", "R"), ("R", "I", "P")], ids="".join)
def test_a_scan_that_says_how_it_lies(codes: AxisCodes, weights: Path, tmp_path: Path) -> None:
    folder, axes = write_nifti(tmp_path / "in", codes, SIDES)
    out = tmp_path / "out"
    assert run_command(folder, out, "--weights", weights, "-q", "--report", tmp_path / "told.json") == 0
    stored = np.asarray(nibabel.load(out / "case.nii.gz").dataobj).transpose()
    labels = axes.orientation.turn(stored)
    assert share_of(labels, ONE, 1) == share_of(labels, OTHER, 2) == 1
    report = json.loads((tmp_path / "told.json").read_text())["cases"][0]
    assert any("as its file says" in note for note in report["notes"])
    assert any("numbers as they are stored" in note for note in report["notes"])


def test_what_a_run_would_do_is_told(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_npz(tmp_path / "in", {"1": "liver"})
    assert run_command(folder, tmp_path / "out", "--weights", weights, "--dry-run", "-q") == 0
    assert "case" in capsys.readouterr().out


def test_an_unknown_sentence_and_marks_are_told_and_the_case_not_lost(weights: Path, tmp_path: Path) -> None:
    boxes = np.array({1: [[0, 0, 0, 5, 5, 5]]}, object)
    asked = {"1": "liver", "2": "a thing of its own kind"}
    out = tmp_path / "out"
    run_command(
        write_npz(tmp_path / "in", asked, boxes=boxes),
        out,
        "--weights",
        weights,
        "-q",
        "--report",
        tmp_path / "told.json",
    )
    labels = read_output(out / "case.npz")
    assert share_of(labels, ONE) == 1 and not (labels == 2).any()
    report = json.loads((tmp_path / "told.json").read_text())["cases"][0]
    assert "bank" in report["prompts"][1]["why"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"overlaps": "most"}, "overlaps"),
        ({"rung_mm": -1}, "rung_mm"),
        ({"network": {"window_dhw": [16, 32, 32], "text": 4}}, "numbers a label"),
        ({"graphs": {"window": "window.onnx", "text": "text.onnx"}}, "prompt"),
        ({"network": {"window_dhw": [0, 32, 32], "text": 3}}, "window_dhw"),
        ({"presence_logit": "much"}, "presence_logit"),
    ],
)
def test_a_wrong_field_of_the_manifest_is_named(changes: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = write_voxtell_weights(tmp_path / "weights", **changes)
    with pytest.raises(ProfileError, match=said):
        load(str(folder), runtime="onnxruntime", threads=1)


def test_the_python_call(weights: Path) -> None:
    model = load(str(weights), runtime="onnxruntime", threads=1)
    found = model.segment(image(), (1.0, 1.0, 1.0), ["Right kidney", "Left kidney"])
    assert share_of(found.labels, ONE, 1) == share_of(found.labels, OTHER, 2) == 1
    assert model.capabilities.open_vocabulary and model.capabilities.stored_numbers
