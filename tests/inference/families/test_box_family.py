"""The sample family with boxes: they cut, they are the region, and edges reach the caller."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the samples' graphs are written with onnx")
pytest.importorskip("onnxruntime", reason="the samples' graphs are run")

from tests.inference.fake_models import dice  # noqa: E402
from tests.samples.box_weights import write_box_weights  # noqa: E402
from tests.samples.case import IMAGE, SHAPE, SPACING_MM, run  # noqa: E402
from tests.samples.families import SAMPLES  # noqa: E402
from tests.samples.slice_weights import write_slice_weights  # noqa: E402
from vesal.inference.api import load  # noqa: E402
from vesal.inference.data.errors import ProfileError  # noqa: E402
from vesal.inference.families.registry import FAMILIES  # noqa: E402


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line of registration of each."""
    for name, (place, _) in SAMPLES.items():
        monkeypatch.setitem(FAMILIES, name, place)


BOX = {"1": [[4, 9, 8, 13, 26, 20]]}
"""Around the left part of the liver."""


def test_boxes_of_the_case_are_used_where_the_family_takes_them(tmp_path: Path) -> None:
    weights = write_box_weights(tmp_path / "weights")
    code, report, labels = run(tmp_path, weights, boxes=np.array(BOX, dtype=object))
    assert code == 0, report
    inside = np.zeros(SHAPE, bool)
    inside[4:13, 9:26, 8:20] = True
    assert not (labels[~inside] == 1).any()
    assert dice((labels == 1) & inside, (IMAGE == 200) & inside) > 0.9
    assert dice(labels == 2, IMAGE == 120) > 0.9, "a prompt without a box is not cut"
    assert any("what the user marked" in stage["why"] for stage in report["stages"])
    assert not any("not used" in note for note in report["notes"])


def test_edges_reach_the_caller_where_the_family_tells_them(tmp_path: Path) -> None:
    model = load(write_box_weights(tmp_path / "boxes"), runtime="onnxruntime")
    result = model.segment(IMAGE, SPACING_MM, ["liver"], modality="CT")
    edges, inside = result.edges(0), result.probability(0)
    assert edges.shape == SHAPE
    assert edges.max() > 0
    assert np.allclose(edges, 4 * inside * (1 - inside), atol=0.01)
    slices = load(write_slice_weights(tmp_path / "slices"), runtime="onnxruntime")
    assert not slices.segment(IMAGE, SPACING_MM, ["liver"], modality="CT").edges(0).any()


def test_boxes_from_python(tmp_path: Path) -> None:
    model = load(write_box_weights(tmp_path / "weights"), runtime="onnxruntime")
    whole = model.segment(IMAGE, SPACING_MM, ["liver"], modality="CT")
    cut = model.segment(IMAGE, SPACING_MM, ["liver"], modality="CT", boxes={1: [(4, 9, 8, 13, 26, 20)]})
    assert 0 < np.count_nonzero(cut.labels) < 0.8 * np.count_nonzero(whole.labels)
    assert not cut.labels[:, :, 20:].any()


def test_presence_is_refused_for_a_family_that_tells_none(tmp_path: Path) -> None:
    rules = [{"rule": "instances"}, {"rule": "presence"}]
    weights = write_box_weights(tmp_path / "weights", postprocess=rules)
    with pytest.raises(ProfileError, match=r"\$\.postprocess\[1\]"):
        load(weights, runtime="onnxruntime")
