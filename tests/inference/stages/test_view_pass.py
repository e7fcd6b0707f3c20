"""One look at a time: which windows are run again, and what a change of effort in its middle does."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.inference.fake_models import BANK, Bright, Constant, Graph, made_image
from vesal.inference.data.errors import OutOfDeviceMemoryError
from vesal.inference.data.prompt import Query
from vesal.inference.families.contract import StageModel
from vesal.inference.families.nano import NanoModel
from vesal.inference.geometry.views import View, whole
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages.passes import MAX_QUERIES, coarse_tasks, run_coarse
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


def model_of(graph: Graph) -> StageModel:
    """One network for all degrees."""
    return NanoModel({0: graph, 1: graph, 2: graph}, BANK)


def half_sure(view: View) -> np.ndarray:
    """A coarse result that is sure of its first half, along D, and knows nothing of its second."""
    spatial_prompt = np.full((1, *view.shape), 0.5, np.float32)
    spatial_prompt[:, : view.shape[0] // 2] = 1.0
    return spatial_prompt


def refine(timed: Timed, ladder: Ladder, given: bool = False) -> np.ndarray:
    """The probability (32, 32, 32) after one round over eight windows."""
    volume = volume_of(made_image((SIDE,) * 3))
    task = ViewTask(
        volume, model_of(timed), [LIVER], whole((SIDE,) * 3), EIGHT, False, True, half_sure, given
    )
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
    volume, box = volume_of(made_image((SIDE,) * 3)), whole((SIDE,) * 3)
    task = ViewTask(volume, model_of(echo), [LIVER], box, rule, False, spatial_prompt=half_marked)
    ladder = Timed(echo, lambda n: 0.0).ladder(60.0, rule, False)
    probability = np.asarray(ViewPass(task, ladder).run()[0].probability)[0]
    np.testing.assert_array_equal(probability[: SIDE // 2], union_box)
    np.testing.assert_array_equal(probability[SIDE // 2 :], 0.0)


def test_masks_that_leave_nothing_open_are_the_result() -> None:
    timed = Timed(Constant(0.25), lambda n: 0.0)
    ladder = timed.ladder(60.0, EIGHT, False)
    ladder.effort = Effort(complementary=False, fine=FineScope.UNCERTAIN)
    volume, box = volume_of(made_image((SIDE,) * 3)), whole((SIDE,) * 3)
    task = ViewTask(volume, model_of(timed), [LIVER], box, EIGHT, False, spatial_prompt=half_marked)
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
    channels = Volume.channels
    monkeypatch.setattr(Volume, "channels", lambda self, view: sampled.append(view) or channels(self, view))
    timed = Timed(Constant(0.75), lambda n: 10.0)
    ladder = timed.ladder(45.0, EIGHT, True)
    for _ in range(2):
        timed.at += 10.0
        ladder.forecast.record_call(0, 16**3, 10.0)
    task = ViewTask(volume_of(image), model_of(timed), [LIVER], whole((SIDE,) * 3), EIGHT, True)
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
    queries = [(LIVER, SPLEEN)[i % 2] for i in range(MAX_QUERIES + 4)]
    result = run_coarse(coarse_tasks(volume_of(image), model_of(timed), queries, EIGHT), ladder)
    assert ladder.steps and ladder.steps[-1].step.startswith("coarser spacing")
    assert np.prod(result.view.shape) < SIDE**3 and result.dropped == 0
    found = np.asarray(result.probability)
    assert found.shape == (len(queries), *result.view.shape)
    middle = found[:, result.view.shape[0] // 2, result.view.shape[1] // 2, result.view.shape[2] // 2]
    assert [bool(value > 0.5) for value in middle] == [i % 2 == 0 for i in range(len(queries))]
    assert result.presence.shape == (len(queries), result.view.shape[0])
    assert (result.presence[:MAX_QUERIES] == 1).all(), "not measured on these slices"


def test_windows_halved_for_want_of_memory_still_ask_the_clock() -> None:
    """Eight windows were counted; a GPU that holds a quarter of each makes more of them, of 1 s, in 20 s."""
    rule = StageRule(window_voxels=32**3, max_windows=8, overlap=0.0)

    def graph(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if inputs["image"][0, 0].size > 16**3:
            timed.at -= 1.0
            raise OutOfDeviceMemoryError("no room")
        return Constant(0.75)(inputs)

    timed = Timed(graph, lambda n: 1.0)
    ladder = timed.ladder(20.0, StageRule(window_voxels=16**3), True)
    volume = volume_of(made_image((64,) * 3))
    task = ViewTask(volume, model_of(timed), [LIVER], whole((64,) * 3), rule, True)
    result = ViewPass(task, ladder).run()[0]
    assert result.windows + result.skipped + result.dropped == 64
    assert timed.at < 20.0 and 15 < result.windows < 20
    assert [step.step for step in ladder.steps] == ["windows left out: 1"]
