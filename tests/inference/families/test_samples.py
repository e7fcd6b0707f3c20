"""The sample families run through the whole command: clock, ladder, progress and report like any other."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the samples' graphs are written with onnx")
pytest.importorskip("onnxruntime", reason="the samples' graphs are run")

from tests.inference.fake_models import FAKE_RUNTIME, dice, make_prompt, segment  # noqa: E402
from tests.inference.fakes import run_command  # noqa: E402
from tests.samples.case import IMAGE, SHAPE, SPACING_MM, run, write_case  # noqa: E402
from tests.samples.families import SAMPLES  # noqa: E402
from tests.samples.slice_weights import write_slice_weights  # noqa: E402
from vesal.inference.api import load  # noqa: E402
from vesal.inference.data.errors import CancelledError, ProfileError  # noqa: E402
from vesal.inference.engine import Engine  # noqa: E402
from vesal.inference.families.contract import RunGraph  # noqa: E402
from vesal.inference.families.registry import FAMILIES, open_model  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.runtime.choice import choose_runtime  # noqa: E402
from vesal.inference.timing.clock import Clock  # noqa: E402
from vesal.inference.timing.progress import WindowProgress  # noqa: E402

WRITERS = {name: write for name, (_, write) in SAMPLES.items()}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one line of registration of each."""
    for name, (place, _) in SAMPLES.items():
        monkeypatch.setitem(FAMILIES, name, place)


@pytest.mark.parametrize("family", WRITERS)
def test_a_case_goes_through_the_command(family: str, tmp_path: Path) -> None:
    code, report, labels = run(tmp_path, WRITERS[family](tmp_path / "weights"))
    assert code == 0, report
    assert dice(labels == 1, IMAGE == 200) > 0.9
    assert dice(labels == 2, IMAGE == 120) > 0.9
    covered = {prompt["id"]: prompt["covered"] for prompt in report["prompts"]}
    assert covered == {1: True, 2: True, 3: False}
    assert [prompt["asked_as"] for prompt in report["prompts"]] == ["target", "target", None]
    profile = read_profile(tmp_path / "weights")
    assert [stage["stage"] for stage in report["stages"]] == [rule.name for rule in profile.stages]


def test_every_slice_is_run_with_its_neighbours(tmp_path: Path) -> None:
    _, report, labels = run(tmp_path, write_slice_weights(tmp_path / "weights"))
    (stage,) = report["stages"]
    assert stage["grid"] == list(SHAPE)
    assert stage["windows"] == 6, "21 slices in runs of 4"
    assert np.array_equal(labels == 1, IMAGE == 200), "a neighbour's tenth changes no voxel's side of 0.5"


def test_slices_without_presence_are_emptied(tmp_path: Path) -> None:
    """The family tells presence for each slice, and the profile's rule uses it."""
    strict = write_slice_weights(tmp_path / "weights", postprocess=[{"rule": "presence", "threshold": 0.95}])
    _, _, labels = run(tmp_path, strict)
    assert not labels[[5, 11]].any(), "the first and last slice have a dark neighbour"
    assert labels[6:11].any((1, 2)).all()


@pytest.mark.parametrize(
    ("rules", "filled"),
    [
        ([], False),
        ([{"rule": "fill_holes"}], True),
        ([{"rule": "fill_holes", "axis": 1, "kinds": ["bone", "organ"]}], True),
        ([{"rule": "fill_holes", "kinds": ["lesion"]}], False),
        ([{"rule": "fill_holes", "max_voxels": 26}], False),
    ],
)
def test_rules_of_a_manifest_reach_the_label_map(
    rules: list[dict[str, object]], filled: bool, tmp_path: Path
) -> None:
    """A hole of 3 x 3 x 3 voxels in the liver."""
    image, hole = IMAGE.copy(), (slice(7, 10), slice(15, 18), slice(15, 18))
    image[hole] = 20
    model = load(write_slice_weights(tmp_path / "weights", postprocess=rules), runtime="onnxruntime")
    labels = model.segment(image, SPACING_MM, ["liver"], modality="CT").labels
    assert np.array_equal(labels == 1, (IMAGE if filled else image) == 200)


class SlowRuntime:
    """ONNX Runtime on a clock of its own: a call takes a second for 10,000 numbers that it is given."""

    def __init__(self) -> None:
        self.at = 0.0
        self._runtime = choose_runtime("onnxruntime")

    def load(self, path: Path, precision: str | None = None, one_shape: bool | str = False) -> RunGraph:
        """The graph, slowed down."""
        graph = self._runtime.load(path, precision, one_shape)

        def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            self.at += sum(values.size for values in inputs.values()) / 1e4
            return graph(inputs)

        return run


@pytest.mark.parametrize("family", WRITERS)
def test_the_clock_ends_a_case_in_time_and_the_ladder_says_how(family: str, tmp_path: Path) -> None:
    profile, runtime = read_profile(WRITERS[family](tmp_path / "weights")), SlowRuntime()
    engine = Engine(profile, FAKE_RUNTIME, open_model(profile, runtime))
    prompts = [make_prompt(1, "liver"), make_prompt(2, "spleen")]
    free = segment(engine, IMAGE, prompts, Clock(1000.0, 0.0, lambda: runtime.at))
    assert not free.ladder
    needed, runtime.at = runtime.at, 0.0
    hurried = segment(engine, IMAGE, prompts, Clock(0.6 * needed, 0.0, lambda: runtime.at))
    assert runtime.at <= 0.6 * needed
    assert hurried.ladder
    assert hurried.labels.any(), "a coarser or unrefined result, not none"


@pytest.mark.parametrize("family", WRITERS)
def test_progress_counts_the_windows(family: str, tmp_path: Path) -> None:
    model = load(WRITERS[family](tmp_path / "weights"), runtime="onnxruntime")
    seen: list[WindowProgress] = []
    model.segment(IMAGE, SPACING_MM, ["liver", "spleen"], modality="CT", progress=seen.append)
    assert all(status.windows <= status.planned for status in seen)
    assert [status.windows for status in seen if status.stage == seen[-1].stage][-1] == seen[-1].planned
    with pytest.raises(CancelledError):
        model.segment(IMAGE, SPACING_MM, ["liver"], modality="CT", progress=lambda status: False)


def test_a_family_without_boxes_says_so_and_runs_without_them(tmp_path: Path) -> None:
    weights = write_slice_weights(tmp_path / "weights")
    code, report, labels = run(
        tmp_path, weights, boxes=np.array({"1": [[4, 9, 8, 13, 26, 20]]}, dtype=object)
    )
    assert code == 0
    assert any("the user's boxes are not used" in note for note in report["notes"])
    assert np.array_equal(labels == 1, IMAGE == 200)


@pytest.mark.parametrize(
    ("family", "changes", "at"),
    [
        ("sample-slices", {"hybrid": "every-slice"}, r"\$\.hybrid"),
        ("sample-slices", {"levels": {"liver": "bright"}}, r"\$\.levels"),
        ("sample-slices", {"stages": []}, r"\$\.stages"),
        (
            "sample-slices",
            {"stages": [{"name": "a", "role": "locate", "window_voxels": 4096}]},
            r"\$\.stages\[0\]\.layout\.kind",
        ),
        (
            "sample-slices",
            {"stages": [{"name": "a", "role": "locate", "window_voxels": 9, "layout": {"kind": "slice"}}]},
            r"\$\.stages\[0\]\.layout",
        ),
        (
            "sample-slices",
            {
                "stages": [
                    {
                        "name": "a",
                        "role": "locate",
                        "window_voxels": 4096,
                        "rounds": 2,
                        "layout": {"kind": "slices"},
                    }
                ]
            },
            r"\$\.stages\[0\]\.rounds",
        ),
    ],
)
def test_what_a_family_cannot_do_is_refused_before_anything_is_written(
    family: str, changes: dict, at: str, tmp_path: Path
) -> None:
    weights = WRITERS[family](tmp_path / "weights", **changes)
    with pytest.raises(ProfileError, match=at):
        load(weights, runtime="onnxruntime")
    inputs = write_case(tmp_path / "in")
    code = run_command(inputs, tmp_path / "out", "--weights", weights, "-q")
    assert code == 2
    assert not (tmp_path / "out").exists()
