"""Objects along the edges that a family tells, through the command and from Python."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the sample's graphs are written with onnx")
pytest.importorskip("onnxruntime", reason="the sample's graphs are run")

from tests.inference.fakes import run_command  # noqa: E402
from tests.samples.box_weights import write_box_weights  # noqa: E402
from tests.samples.families import SAMPLES  # noqa: E402
from tests.samples.slice_weights import write_slice_weights  # noqa: E402
from vesal.inference.api import Model, load  # noqa: E402
from vesal.inference.data.errors import ProfileError  # noqa: E402
from vesal.inference.families.registry import FAMILIES  # noqa: E402
from vesal.inference.geometry.views import View  # noqa: E402
from vesal.inference.stages.native_views import planes_of, take_larger  # noqa: E402

SPACING_MM = (2.0, 1.0, 1.0)
EDGES = {"rule": "edges", "threshold": 0.5}
SEAM = 23


def two_discs() -> np.ndarray:
    """(20, 50, 47) uint8: two cylinders that run into each other, a seam of one voxel between them darker."""
    y, x = np.indices((50, 47))
    discs = ((y - 25) ** 2 + (x - 15) ** 2 <= 90) | ((y - 25) ** 2 + (x - 31) ** 2 <= 90)
    image = np.full((20, 50, 47), 20, np.float64)
    image[4:14, discs] = 200
    image[4:14, :, SEAM][:, discs[:, SEAM]] = 200 - 0.5 * image.std()
    return image.astype(np.uint8)


IMAGE = two_discs()
MASK = IMAGE > 100


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line of registration of each."""
    for name, (place, _) in SAMPLES.items():
        monkeypatch.setitem(FAMILIES, name, place)


def weights(folder: Path, *rules: dict[str, object]) -> Path:
    """The sample with boxes, which tells edges where it is unsure: not at 200, and at the seam."""
    level = (200 - IMAGE.mean()) / IMAGE.std()
    return write_box_weights(folder, levels={"liver": float(level), "spleen": 9.0}, postprocess=list(rules))


def segmented(tmp_path: Path, instance: int, *rules: dict[str, object]) -> np.ndarray:
    """The label map that the command writes."""
    (tmp_path / "in").mkdir()
    prompts = np.array({"1": "Liver in abdominal CT", "instance_label": instance}, dtype=object)
    spacing = np.array(SPACING_MM[::-1])
    np.savez(tmp_path / "in" / "case.npz", imgs=IMAGE, spacing=spacing, text_prompts=prompts)
    told = tmp_path / "report.json"
    options = ("--weights", str(weights(tmp_path / "weights", *rules)), "--runtime", "onnxruntime", "-q")
    code = run_command(tmp_path / "in", tmp_path / "out", *options, "--report", str(told))
    assert code == 0, json.loads(told.read_text())
    with np.load(tmp_path / "out" / "case.npz") as written:
        return written["segs"]


def test_two_objects_with_an_edge_between_are_two_and_fill_the_mask(tmp_path: Path) -> None:
    labels = segmented(tmp_path, 1, EDGES)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels > 0, MASK)
    left, right = np.unique(labels[..., :SEAM][MASK[..., :SEAM]]), np.unique(labels[..., SEAM + 1 :])
    assert left.tolist() in ([1], [2]) and right.tolist() == [0, 3 - left[0]]


def test_without_the_rule_they_are_one(tmp_path: Path) -> None:
    assert set(np.unique(segmented(tmp_path, 1))) == {0, 1}


def test_where_no_objects_are_wanted_the_rule_is_off(tmp_path: Path) -> None:
    np.testing.assert_array_equal(segmented(tmp_path, 0, EDGES), MASK)


def model(folder: Path, *rules: dict[str, object]) -> Model:
    """The sample, opened."""
    return load(weights(folder, *rules), runtime="onnxruntime")


def test_from_python_with_edges_for_the_caller_too(tmp_path: Path) -> None:
    found = model(tmp_path / "1", EDGES).segment(IMAGE, SPACING_MM, ["liver"], modality="CT", instances=True)
    assert found.prompts[0].objects == 2
    assert (found.edges(0)[5, 20:30, SEAM] > 0.5).all() and not (found.edges(0)[5, 20:30, 10] > 0.5).any()
    strict = {**EDGES, "threshold": 0.95}
    whole = model(tmp_path / "2", strict).segment(IMAGE, SPACING_MM, ["liver"], modality="CT", instances=True)
    assert whole.prompts[0].objects == 1, "the seam's edge is 0.8"


def test_a_rule_for_other_targets_leaves_them_alone(tmp_path: Path) -> None:
    other = {**EDGES, "concepts": ["spleen"]}
    found = model(tmp_path, other).segment(IMAGE, SPACING_MM, ["liver"], modality="CT", instances=True)
    assert found.prompts[0].objects == 1


def test_a_family_without_edges_refuses_it(tmp_path: Path) -> None:
    folder = write_slice_weights(tmp_path, postprocess=[EDGES])
    with pytest.raises(ProfileError, match="'Edges', but the family sample-slices tells no edges"):
        load(folder, runtime="onnxruntime")


def test_planes_of_a_box_are_those_of_the_whole_volume() -> None:
    """Two views of other spacings that overlap, one of them beyond the volume."""
    rng = np.random.default_rng(0)
    fine = View((2.0, -3.0, 1.5), (1.0, 0.75, 0.5), (9, 16, 20), 0, 0)
    coarse = View((0.0, 0.0, 0.0), (2.0, 3.0, 4.0), (7, 4, 3), 0, 0)
    given = [(rng.random(view.shape, np.float32), view) for view in (fine, coarse)]
    whole = np.zeros((14, 12, 12), np.float32)
    for values, view in given:
        take_larger(whole, values, view)
    assert whole.all()
    box = slice(3, 12), slice(5, 11), slice(0, 9)
    planes = planes_of([(lambda values=values: values, view) for values, view in given], box)
    for part in (slice(0, 4), slice(4, 9)):
        np.testing.assert_array_equal(planes(part), whole[box][part])
