"""One look at a time: which windows are run again, and what a change of effort in its middle does."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.inference.fake_models import BANK, Bright, Constant, Graph, made_image, make_profile
from vesal.inference.data.errors import OutOfDeviceMemoryError
from vesal.inference.data.prompt import Query
from vesal.inference.families.contract import Decoded, Window
from vesal.inference.families.nano import NanoModel
from vesal.inference.geometry.views import View, whole
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages.passes import locating_tasks, run_locating
from vesal.inference.stages.sliding_window import Blended
from vesal.inference.stages.view_pass import ViewPass
from vesal.inference.stages.view_task import ViewTask, Volume
from vesal.inference.timing.clock import Clock
from vesal.inference.timing.forecast import Forecast
from vesal.inference.timing.ladder import Effort, FineScope, Ladder, PlannedStage

LIVER = Query(1, "liver", "liver", None, "CT", "organ")
SPLEEN = Query(2, "spleen", "spleen", None, "CT", "organ")
SIDE = 32
EIGHT = StageRule(window_voxels=16**3, max_windows=8, overlap=0.0, complementary_block=4)
"""Cuts 32^3 into its eight halves of a side."""


class Timed:
    """A network and its clock: call number n takes ``seconds(n)``."""

    def __init__(self, graph: Graph, seconds: Callable[[int], float]) -> None:
        self.graph, self.seconds = graph, seconds
        self.at, self.count = 0.0, 0

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.count += 1
        self.at += self.seconds(self.count)
        return self.graph(inputs)

    def ladder(self, budget_s: float, rule: StageRule, first: bool) -> Ladder:
        """A ladder for one stage on that clock."""
        return Ladder(Forecast(Clock(budget_s, 0.0, lambda: self.at)), [PlannedStage(rule, first)])


def volume_of(image: np.ndarray) -> Volume:
    """A volume of 1 mm voxels."""
    return Volume(image, (1.0, 1.0, 1.0), (100.0, 50.0))


def model_of(graph: Graph) -> NanoModel:
    """One network for all degrees."""
    return NanoModel({0: graph, 1: graph, 2: graph}, BANK, make_profile())


def task_of(image: np.ndarray, graph: Graph, rule: StageRule, first: bool, **more: Any) -> ViewTask:
    """A view over a whole volume (D, H, W) for the liver; ``more`` are fields of the task."""
    model = model_of(graph)
    prompts = model.encode_prompts([LIVER])
    return ViewTask(volume_of(image), model, [LIVER], prompts, whole(image.shape), rule, first, **more)


def half_sure(view: View) -> np.ndarray:
    """A coarse result that is sure of its first half, along D, and knows nothing of its second."""
    spatial_prompt = np.full((1, *view.shape), 0.5, np.float32)
    spatial_prompt[:, : view.shape[0] // 2] = 1.0
    return spatial_prompt


def refine(timed: Timed, ladder: Ladder, given: bool = False) -> np.ndarray:
    """The probability (32, 32, 32) after one round over eight windows."""
    image = made_image((SIDE,) * 3)
    task = task_of(image, timed, EIGHT, False, spatial_prompt=half_sure, from_user=given)
    return np.asarray(ViewPass(task, ladder).run()[0].probability)[0]


def test_only_windows_that_the_coarse_stage_left_open_are_run() -> None:
    timed = Timed(Constant(0.25), lambda n: 0.0)
    ladder = timed.ladder(60.0, EIGHT, False)
    ladder.effort = Effort(complementary=False, fine=FineScope.UNCERTAIN)
    probability = refine(timed, ladder)
    assert timed.count == 4
    np.testing.assert_allclose(probability[: SIDE // 2], 1.0, rtol=1e-3)
    np.testing.assert_allclose(probability[SIDE // 2 :], 0.25, rtol=1e-3)


def half_marked(view: View) -> np.ndarray:
    """The mask of its first half, as a label map gives it."""
    return half_sure(view) > 0.75


def echo(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A network that gives back its spatial prompt."""
    seen = inputs["prompt"].copy()
    return {"probability": seen, "presence": seen.max((3, 4))}


@pytest.mark.parametrize(("dropped", "union_box"), [(False, 0.5), (True, 0.0)])
def test_complementary_results_are_averaged_or_taken_from_the_half_not_shown(
    dropped: bool, union_box: float
) -> None:
    rule = StageRule(
        window_voxels=SIDE**3, complementary_block=4, merge_unprompted=dropped, binary_prompts=True
    )
    task = task_of(made_image((SIDE,) * 3), echo, rule, False, spatial_prompt=half_marked)
    ladder = Timed(echo, lambda n: 0.0).ladder(60.0, rule, False)
    probability = np.asarray(ViewPass(task, ladder).run()[0].probability)[0]
    np.testing.assert_array_equal(probability[: SIDE // 2], union_box)
    np.testing.assert_array_equal(probability[SIDE // 2 :], 0.0)


def test_masks_that_leave_nothing_open_are_the_result() -> None:
    timed = Timed(Constant(0.25), lambda n: 0.0)
    ladder = timed.ladder(60.0, EIGHT, False)
    ladder.effort = Effort(complementary=False, fine=FineScope.UNCERTAIN)
    task = task_of(made_image((SIDE,) * 3), timed, EIGHT, False, spatial_prompt=half_marked)
    probability = np.asarray(ViewPass(task, ladder).run()[0].probability)[0]
    assert timed.count == 0 and probability.dtype == np.float32
    np.testing.assert_allclose(probability[: SIDE // 2], 1.0, rtol=1e-3)
    np.testing.assert_array_equal(probability[SIDE // 2 :], 0.0)


def test_what_a_user_marked_is_no_result() -> None:
    """Their mask is sure everywhere; every window is run."""
    timed = Timed(Constant(0.25), lambda n: 0.0)
    ladder = timed.ladder(60.0, EIGHT, False)
    ladder.effort = Effort(complementary=False, fine=FineScope.UNCERTAIN)
    np.testing.assert_allclose(refine(timed, ladder, given=True), 0.25, rtol=1e-3)
    assert timed.count == 8


def test_air_is_counted_once_and_not_for_every_rung(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of eight windows holds something: the plan fits, though the eight would not; a look that is still
    to come is sampled for that, whatever else is weighed.
    """
    image = np.zeros((SIDE,) * 3, np.uint8)
    image[:8, :8, :8] = 200
    sampled = []
    sample = ViewTask.sample
    monkeypatch.setattr(ViewTask, "sample", lambda self, view: sampled.append(view) or sample(self, view))
    timed = Timed(Constant(0.75), lambda n: 10.0)
    ladder = timed.ladder(45.0, EIGHT, True)
    for _ in range(2):
        timed.at += 10.0
        ladder.forecast.record_decoding("degree 0", 16**3, 1, 10.0)
    task = task_of(image, timed, EIGHT, True)
    assert ladder.fits(task) and ladder.steps == [] and len(sampled) == 1
    timed.at = 40.0
    assert not ladder.fits(task)
    assert len(sampled) == 1


def test_a_step_in_the_middle_holds_from_the_next_window_on() -> None:
    """Two calls a window for both halves of the masks. From the fifth on they take ten times as long: after
    the eighth, 4 windows are left and 46 s, which is enough for one call each.
    """
    timed = Timed(Constant(0.25), lambda n: 1.0 if n < 5 else 10.0)
    ladder = timed.ladder(90.0, EIGHT, False)
    refine(timed, ladder)
    assert [step.step for step in ladder.steps] == ["no complementary pass"]
    assert timed.count == 2 * 4 + 4
    assert [step.at_s for step in ladder.steps] == [4 * 1.0 + 4 * 10.0]


def test_a_pass_that_becomes_coarser_takes_the_earlier_ones_along() -> None:
    """20 queries are asked in two passes of 8 windows; in the second each takes five times as long: it sees
    the volume with fewer voxels, and the first one's result goes over to them.
    """
    cut = (slice(4, 28), slice(4, 28), slice(4, 28))
    image = made_image((SIDE,) * 3, (cut, 200))
    timed = Timed(Bright(), lambda n: 1.0 if n <= 8 else 5.0)
    ladder = timed.ladder(40.0, EIGHT, True)
    assert EIGHT.max_queries == 16
    queries, model = [(LIVER, SPLEEN)[i % 2] for i in range(EIGHT.max_queries + 4)], model_of(timed)
    tasks = locating_tasks(volume_of(image), model, queries, model.encode_prompts(queries), EIGHT)
    result = run_locating(tasks, ladder)
    assert ladder.steps and ladder.steps[-1].step.startswith("coarser spacing")
    assert np.prod(result.view.shape) < SIDE**3 and result.dropped == 0
    found = np.asarray(result.probability)
    assert found.shape == (len(queries), *result.view.shape)
    middle = found[:, result.view.shape[0] // 2, result.view.shape[1] // 2, result.view.shape[2] // 2]
    assert [bool(value > 0.5) for value in middle] == [i % 2 == 0 for i in range(len(queries))]
    assert result.presence.shape == (len(queries), result.view.shape[0])
    assert (result.presence[: EIGHT.max_queries] == 1).all(), "not measured on these slices"


@pytest.mark.parametrize(
    ("planned", "windows", "dropped", "step"),
    [
        (
            StageRule(window_voxels=32**3, max_windows=8, overlap=0.0),
            8,
            0,
            "coarser spacing: 1/4 of the voxels",
        ),
        (StageRule(window_voxels=16**3), 2, 62, "windows left out: 62"),
    ],
    ids=["a ladder with steps", "a ladder without"],
)
def test_windows_halved_for_want_of_memory_still_ask_the_clock(
    planned: StageRule, windows: int, dropped: int, step: str
) -> None:
    """Eight windows were planned; a GPU that holds an eighth of each makes 64 of them, of 1 s, in 20 s. After
    the second it is known that the others do not fit.
    """
    rule = StageRule(window_voxels=32**3, max_windows=8, overlap=0.0)

    def graph(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if inputs["image"][0, 0].size > 16**3:
            timed.at -= 1.0
            raise OutOfDeviceMemoryError("no room")
        return Constant(0.75)(inputs)

    timed = Timed(graph, lambda n: 1.0)
    ladder = timed.ladder(20.0, planned, True)
    result = ViewPass(task_of(made_image((64,) * 3), timed, rule, True), ladder).run()[0]
    assert (result.windows, result.skipped, result.dropped) == (windows, 0, dropped)
    assert timed.at < 20.0
    assert [s.step for s in ladder.steps] == [step]


class Small:
    """A GPU whose memory holds windows of so many voxels; its answer is the first channel."""

    def __init__(self, voxels: int) -> None:
        self.voxels = voxels
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        image = inputs["image"][:, :1]
        if image.size > self.voxels:
            raise OutOfDeviceMemoryError("no room")
        self.sizes.append(image.shape[2:])
        return {"probability": (image + 1) / 2, "presence": np.ones(image.shape[:3], np.float32)}


ONE = StageRule(window_voxels=64**3)
"""A view of one window."""


def run_on(graph: Graph, **more: Any) -> tuple[Blended, np.ndarray, Ladder]:
    """One view of 64^3 random voxels: the result, its probability (64, 64, 64), and the ladder."""
    image = np.random.default_rng(0).integers(1, 256, (64, 64, 64)).astype(np.uint8)
    ladder = Timed(graph, lambda n: 0.0).ladder(60.0, ONE, True)
    result = ViewPass(task_of(image, graph, ONE, True, **more), ladder).run()[0]
    np.testing.assert_allclose(np.asarray(result.probability)[0], image / 255, atol=1e-3)
    return result, image, ladder


def test_a_window_too_large_for_the_gpu_is_cut_smaller() -> None:
    """64^3 does not fit, nor does half of it; a quarter does, and the answer is the same."""
    small = Small(64**3 // 4)
    result, _, ladder = run_on(small)
    assert max(map(math.prod, small.sizes)) <= 64**3 // 4
    assert "do not fit into GPU memory" in result.note
    assert (ladder.effort.halvings, ladder.steps) == (2, []), "less memory is no lack of time"
    assert run_on(Small(64**3))[0].note == ""


def test_later_views_begin_with_the_windows_that_fit() -> None:
    small = Small(64**3 // 4)
    ladder = run_on(small)[2]
    tried: list[int] = []

    def watched(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        tried.append(inputs["image"][0, 0].size)
        return small(inputs)

    result = ViewPass(task_of(made_image((64, 64, 64)), watched, ONE, True), ladder).run()[0]
    assert max(tried) <= 64**3 // 4 and result.windows == len(tried)
    assert "as those of 64x64x64 do not fit into GPU memory" in result.note


def test_a_gpu_without_room_for_the_smallest_window_is_an_error() -> None:
    with pytest.raises(OutOfDeviceMemoryError):
        run_on(Small(100))


def test_other_errors_of_a_window_are_not_answered() -> None:
    calls = []

    def broken(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        calls.append(inputs["image"].shape)
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        run_on(broken)
    assert len(calls) == 1


class Counted(NanoModel):
    """Counts encodings and decodings of its windows."""

    def __init__(self, graph: Graph) -> None:
        super().__init__({0: graph}, BANK, make_profile())
        self.encoded, self.decoded = 0, 0

    def encode(self, window: Window) -> Window:
        self.encoded += 1
        return super().encode(window)

    def decode(self, *given: Any) -> Decoded:
        self.decoded += 1
        return super().decode(*given)


@pytest.mark.parametrize(
    ("voxels", "encoded", "decoded"), [(SIDE**3, 1, 3 * 2), (16**3, 3 * 8, 3 * 8 * 2)], ids=["one", "eight"]
)
def test_a_window_is_encoded_once_for_both_halves_and_the_only_one_for_all_rounds(
    voxels: int, encoded: int, decoded: int
) -> None:
    """Three rounds, two halves of the masks each. Of several windows none is kept: they are large."""
    rule = StageRule(voxels, max_windows=SIDE**3 // voxels, overlap=0.0, rounds=3, complementary_block=4)
    model, image = Counted(Constant(0.75)), made_image((SIDE,) * 3)
    prompts, box = model.encode_prompts([LIVER]), whole(image.shape)
    task = ViewTask(volume_of(image), model, [LIVER], prompts, box, rule, False, spatial_prompt=half_sure)
    ladder = Timed(Constant(0.75), lambda n: 0.0).ladder(60.0, rule, False)
    result, rounds = ViewPass(task, ladder).run()
    assert (rounds, result.windows) == (3, 3 * SIDE**3 // voxels)
    assert (model.encoded, model.decoded) == (encoded, decoded)
