"""A file of the interactive track through the command, with the sample family that runs boxes alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the samples' graphs are written with onnx")
pytest.importorskip("onnxruntime", reason="the samples' graphs are run")

from tests.inference.fake_models import dice  # noqa: E402
from tests.inference.fakes import run_command  # noqa: E402
from tests.samples.box_weights import write_box_weights  # noqa: E402
from tests.samples.case import IMAGE, LIVER, SHAPE, SPACING_MM, SPLEEN  # noqa: E402
from tests.samples.families import SAMPLES  # noqa: E402
from vesal.inference.api import load  # noqa: E402
from vesal.inference.families.registry import FAMILIES  # noqa: E402


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line of registration of each."""
    for name, (place, _) in SAMPLES.items():
        monkeypatch.setitem(FAMILIES, name, place)


def box_of(place: tuple[slice, slice, slice], wide: int = 2) -> dict[str, Any]:
    """As the track's files have it, too wide in the plane."""
    z, y, x = place
    return {
        "z_min": z.start,
        "z_max": z.stop - 1,
        "z_mid": (z.start + z.stop) // 2,
        "z_mid_y_min": y.start - wide,
        "z_mid_y_max": y.stop - 1 + wide,
        "z_mid_x_min": x.start - wide,
        "z_mid_x_max": x.stop - 1 + wide,
    }


def row_of(place: tuple[slice, slice, slice]) -> list[int]:
    """(d0, h0, w0, d1, h1, w1), exclusive."""
    return [*(part.start for part in place), *(part.stop for part in place)]


def run(
    tmp_path: Path, *options: str, beside: Any = None, **arrays: Any
) -> tuple[int, dict[str, Any], np.ndarray]:
    """Exit code, the case's report and its labels; the case has no sentences."""
    inputs, out, told = tmp_path / "in", tmp_path / "out", tmp_path / "report.json"
    inputs.mkdir()
    np.savez(inputs / "CT_case.npz", imgs=IMAGE, spacing=np.array(SPACING_MM[::-1]), **arrays)
    if beside is not None:
        (inputs / "CT_case.prompt.json").write_text(json.dumps(beside))
    weights = write_box_weights(tmp_path / "weights")
    fixed = ("--weights", str(weights), "--runtime", "onnxruntime", "--report", str(told), "-q")
    code = run_command(inputs, out, *fixed, *options)
    with np.load(out / "CT_case.npz") as written:
        return code, json.loads(told.read_text())["cases"][0], written["segs"]


def check_both(labels: np.ndarray) -> None:
    assert dice(labels == 1, IMAGE == 200) > 0.9
    assert dice(labels == 2, IMAGE == 120) > 0.9


def test_a_file_of_the_track_runs_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = np.zeros(SHAPE, np.uint8)
    before[LIVER], before[:2, :3, :4] = 1, 3
    clicks = [
        {"fg": [[8, 15, 15], [8, 15, 15]], "bg": []},
        {"fg": [], "bg": [[0, 0, 0]]},
        {"fg": [], "bg": []},
        None,
    ]
    code, report, labels = run(
        tmp_path,
        boxes=np.array([box_of(LIVER), box_of(SPLEEN), None, None], object),
        clicks=np.array(clicks, object),
        clicks_order=np.array([["fg", "fg"], ["bg"], None, None], object),
        prev_pred=before,
    )
    assert labels.shape == SHAPE and labels.dtype == np.uint8
    check_both(labels)
    assert np.array_equal(labels == 3, before == 3), "a class without box and click keeps the last result"
    assert not (labels == 4).any()
    prompts = {prompt["id"]: prompt for prompt in report["prompts"]}
    assert [prompts[id_]["covered"] for id_ in (1, 2, 3, 4)] == [True, True, False, False]
    assert prompts[1]["asked_as"] == "user prompts" and prompts[1]["text"] == ""
    assert "asked by what the user marked" in prompts[1]["why"]
    assert prompts[3]["voxels"] == 24 and "what the user's mask has of it is kept" in prompts[3]["why"]
    assert prompts[4]["why"].endswith("nothing that the weights sample-boxes take (boxes) says where it is")
    assert "prompt 3 is not run: there is no" in caplog.text and "prompt 3 is empty" not in caplog.text
    assert "prompt 4 is empty: there is no sentence" in caplog.text
    assert report["budget_s"] == 4 * 90 - 3
    notes = " ".join(report["notes"])
    assert "classes without a sentence: 1, 2, 3, 4" in notes
    assert "boxes are given for the prompts 1, 2 (CT_case.npz, 'boxes')" in notes
    assert "points are given for the prompts 1, 2 (CT_case.npz, 'clicks')" in notes
    assert "the user's points are not used: the weights sample-boxes take none" in notes
    assert "the user's mask is not used for the prompts 1: the weights sample-boxes take none" in notes
    assert code == 0 and report["fallbacks"] == []


def test_a_file_without_boxes_or_a_last_result_gets_an_output(tmp_path: Path) -> None:
    clicks = np.array([{"fg": [[8, 15, 15]], "bg": []}], object)
    code, report, labels = run(tmp_path, clicks=clicks)
    assert code == 0 and not labels.any() and report["budget_s"] == 87.0
    assert report["prompts"][0]["covered"] is False


def test_the_same_from_a_json_file_without_sentences(tmp_path: Path) -> None:
    beside = {"1": {"box": row_of(LIVER)}, "2": {"boxes": [row_of(SPLEEN)]}}
    code, report, labels = run(tmp_path, beside=beside)
    assert code == 0, report
    check_both(labels)
    assert report["budget_s"] == 117.0


def test_names_and_unnamed_classes_together(tmp_path: Path) -> None:
    code, report, labels = run(
        tmp_path, beside={"liver": {"box": row_of(LIVER)}, "2": {"box": row_of(SPLEEN)}}
    )
    assert code == 0, report
    check_both(labels)
    assert [prompt["asked_as"] for prompt in report["prompts"]] == ["target", "user prompts"]


def test_the_same_from_the_command_line(tmp_path: Path) -> None:
    boxes = [f"--box={id_}={','.join(map(str, row_of(place)))}" for id_, place in ((1, LIVER), (2, SPLEEN))]
    code, report, labels = run(tmp_path, *boxes, "--point", "1 = 8, 15, 15, +")
    assert code == 0, report
    check_both(labels)


def test_the_same_from_python(tmp_path: Path) -> None:
    model = load(write_box_weights(tmp_path / "weights"), runtime="onnxruntime")
    assert model.capabilities.unnamed
    result = model.segment(IMAGE, SPACING_MM, boxes={1: [row_of(LIVER)], 2: [row_of(SPLEEN)]})
    check_both(result.labels)
    assert result.prompts[1].voxels == np.count_nonzero(result.labels == 1)
    assert dice(result.mask(2), IMAGE == 120) > 0.9


def test_wrong_marks_are_named_and_cost_no_case(tmp_path: Path) -> None:
    boxes = [
        [box_of(LIVER)],
        box_of(SPLEEN) | {"z_min": float("nan")},
        box_of(SPLEEN) | {"z_max": 0},
        box_of(SPLEEN) | {"z_min": 25, "z_max": 40},
        [[30, 10, 10, 45, 20, 20]],
        box_of(SPLEEN),
    ]
    array = np.empty(len(boxes), object)
    array[:] = boxes
    clicks = np.array([{"fg": [[99, 0, 0]], "bg": [[8, 15]]}] + [None] * 5, object)
    code, report, labels = run(tmp_path, boxes=array, clicks=clicks)
    assert code == 1 and report["error"] is None
    assert dice(labels == 1, IMAGE == 200) > 0.9 and dice(labels == 6, IMAGE == 120) > 0.9
    assert set(np.unique(labels)) == {0, 1, 6}
    told = "\n".join(report["fallbacks"])
    for said in (
        "'boxes', prompt 2: nan is no whole number",
        "'boxes', prompt 3: the box",
        "'boxes', prompt 4: the box from (25,",
        "'boxes', prompt 5: the box from (30, 10, 10)",
        "read as (x,y,z) it would fit, as the box from (10, 10, 30) to (20, 20, 45)",
        "'clicks', prompt 1: the point (99, 0, 0) lies outside of the volume",
        "'clicks', prompt 1: [8, 15] is no voxel",
    ):
        assert said in told, said
