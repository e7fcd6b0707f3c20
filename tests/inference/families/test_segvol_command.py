"""Cases through command and Python call with the family ``segvol``: each kind of prompt, and wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the graphs are written with onnx")
pytest.importorskip("onnxruntime", reason="the graphs are run")

from tests.inference.fakes import read_output, run_command  # noqa: E402
from tests.inference.families.test_segvol import LIVER, MIDDLE, OTHER, SHAPE, image, share_of  # noqa: E402
from tests.samples.segvol_weights import write_segvol_weights  # noqa: E402
from vesal.inference.api import load  # noqa: E402

LIVER_BOX = [[s.start for s in LIVER], [s.stop for s in LIVER]]
MIDDLE_POINT = [(s.start + s.stop) // 2 for s in MIDDLE]
KINDS: dict[str, dict[str, Any]] = {
    "text": {},
    "text and box": {"boxes": {1: [sum(LIVER_BOX, [])]}},
    "text and points": {"points": {1: [[*MIDDLE_POINT, 1]]}},
    "text, box and points": {
        "boxes": {1: [sum(LIVER_BOX, [])]},
        "points": {1: [[*(n + 3 for n in LIVER_BOX[0]), 1]]},
    },
}
WRONG: dict[str, list[list[float]]] = {
    "outside": [[50, 0, 0, 60, 5, 5]],
    "inverted": [[10, 10, 10, 2, 2, 2]],
    "empty": [[3, 3, 3, 3, 3, 3]],
    "not a number": [[float("nan"), 0, 0, 5, 5, 5]],
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete folder."""
    return write_segvol_weights(tmp_path_factory.mktemp("segvol") / "weights")


def write(folder: Path, **more: Any) -> Path:
    """A case file; what the user marked goes by prompt id."""
    folder.mkdir(exist_ok=True)
    asked = {"1": "Liver in abdominal CT", "instance_label": 0}
    extra = {name: np.array(values, object) for name, values in more.items()}
    np.savez(folder / "case.npz", imgs=image(), spacing=np.ones(3), text_prompts=np.array(asked), **extra)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_through_the_command(kind: str, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = run_command(write(tmp_path / "in", **KINDS[kind]), out, "--weights", weights, "-q")
    labels = read_output(out / "case.npz")
    assert code == 0 and labels.shape == SHAPE
    wanted = MIDDLE if kind == "text and points" else LIVER
    if kind != "text, box and points":
        assert share_of(labels, wanted) > 0.8
    assert (share_of(labels, OTHER) > 0.8) == (kind == "text")


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_box_is_told_and_the_case_not_lost(wrong: str, weights: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_command(write(tmp_path / "in", boxes={1: WRONG[wrong]}), out, "--weights", weights, "-q")
    labels = read_output(out / "case.npz")
    assert labels.shape == SHAPE
    assert share_of(labels, LIVER) > 0.8
    assert share_of(labels, OTHER) > 0.8, "it is run by its text alone"


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_through_the_python_call(kind: str, weights: Path) -> None:
    model = load(str(weights), runtime="onnxruntime", threads=1)
    found = model.segment(image(), (1.0, 1.0, 1.0), ["Liver in abdominal CT"], **KINDS[kind])
    assert found.labels.shape == SHAPE
    assert (share_of(found.labels, OTHER) > 0.8) == (kind == "text")
