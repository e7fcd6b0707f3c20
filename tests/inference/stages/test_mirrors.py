"""Test-time mirroring: which copies are run, that they are turned back, what they cost, and when they go."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.inference.fake_models import BANK, Bright, made_image, make_profile
from tests.inference.stages.test_view_pass import LIVER, Timed, volume_of
from vesal.inference.data.prompt import Query
from vesal.inference.families.contract import Decoded, UserInput
from vesal.inference.families.nano import NanoModel
from vesal.inference.geometry.views import View, whole
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages.mirrors import copies_along, mean_of_copies
from vesal.inference.stages.sliding_window import Blended
from vesal.inference.stages.view_pass import ViewPass
from vesal.inference.stages.view_task import ViewTask
from vesal.inference.timing.ladder import Effort, PlannedStage, rungs

SHAPE = (32, 16, 48)
RULE = StageRule(window_voxels=32 * 16 * 48, mirror_axes=(0, 1, 2))
LEFT = Query(1, "left kidney", "kidney", "left", "CT", "organ")


class Corner:
    """Finds the first eighth of what it is shown, and keeps what that was; presence in its first half."""

    def __init__(self) -> None:
        self.seen: list[np.ndarray] = []

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        image = inputs["image"]
        self.seen.append(image[0, 0].copy())
        d, h, w = (n // 2 for n in image.shape[2:])
        probability = np.zeros((1, inputs["text"].shape[1], *image.shape[2:]), np.float32)
        probability[:, :, :d, :h, :w] = 1
        return {"probability": probability, "presence": probability.max((3, 4))}


def task_of(graph: Any, rule: StageRule, query: Query = LIVER, **more: Any) -> ViewTask:
    model = NanoModel({0: graph, 1: graph, 2: graph}, BANK, make_profile())
    image = made_image(SHAPE, ((slice(2, 9), slice(1, 6), slice(3, 20)), 200))
    prompts = model.encode_prompts([query])
    return ViewTask(volume_of(image), model, [query], prompts, whole(image.shape), rule, True, **more)


def run(task: ViewTask, effort: Effort | None = None) -> Blended:
    ladder = Timed(Bright(), lambda n: 0.0).ladder(60.0, task.rule, True)
    ladder.effort = effort or Effort()
    return ViewPass(task, ladder).run()[0]


def test_all_combinations_of_axes_are_copies_and_the_window_itself_is_first() -> None:
    assert copies_along(()) == [()]
    assert copies_along((0, 2)) == [(), (0,), (2,), (0, 2)]
    assert len(set(copies_along((0, 1, 2)))) == 8


def test_the_mean_is_of_copies_that_are_turned_back() -> None:
    """What finds the first eighth of every copy finds each eighth once, and each half in half of them."""
    graph = Corner()
    found = run(task_of(graph, RULE))
    np.testing.assert_allclose(np.asarray(found.probability)[0], 1 / 8)
    np.testing.assert_allclose(found.presence, 0.5)
    for axes, seen in zip(copies_along((0, 1, 2)), graph.seen, strict=True):
        np.testing.assert_array_equal(np.flip(seen, axes), graph.seen[0])
    assert not np.array_equal(graph.seen[1], graph.seen[0])


def test_of_what_does_not_depend_on_the_side_nothing_changes() -> None:
    plain = run(task_of(Bright(), StageRule(window_voxels=32 * 16 * 48)))
    mean = run(task_of(Bright(), RULE))
    np.testing.assert_allclose(np.asarray(mean.probability), np.asarray(plain.probability), atol=1e-6)


def test_edges_are_turned_back_as_well() -> None:
    values = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    axes = [(), (1,)]
    found = [
        Decoded(values.copy(), None, values.copy()),
        Decoded(values[:, :, ::-1], None, values[:, :, ::-1]),
    ]
    mean = mean_of_copies(found, axes)
    assert mean.edges is not None and mean.presence is None
    np.testing.assert_array_equal(mean.probability, values)
    np.testing.assert_array_equal(mean.edges, values)


def no_user(view: View) -> UserInput:
    return UserInput((np.zeros((0, 2, 3)),), (np.zeros((0, 4)),))


@pytest.mark.parametrize(
    ("query", "more", "effort", "calls"),
    [
        (LIVER, {}, Effort(), 8),
        (LIVER, {}, Effort(mirrors=False), 1),
        (LEFT, {}, Effort(), 1),
        (replace(LEFT, mirrored=True), {}, Effort(), 8),
        (replace(LIVER, mirrored=False), {}, Effort(), 1),
        (LIVER, {"user": no_user}, Effort(), 1),
    ],
)
def test_where_there_are_no_copies(query: Query, more: dict[str, Any], effort: Effort, calls: int) -> None:
    """Not of a target that was not trained mirrored, not of one with a side where that is not told, not where
    a user marked something, and not when time is short."""
    graph = Corner()
    task = task_of(graph, RULE, query, **more)
    (estimate,) = task.cost(effort)
    assert (estimate.encodings, estimate.decodings) == (calls, calls)
    run(task, effort)
    assert len(graph.seen) == calls


def test_copies_are_the_first_to_go() -> None:
    steps = [rung.step for rung in rungs([PlannedStage(RULE, True)])]
    assert steps[:2] == ["no mirrored copies", "overlap 0.25"]
    timed = Timed(Corner(), lambda n: 1.0)
    task = task_of(timed, RULE)
    ladder = timed.ladder(4.0, RULE, True)
    ladder.forecast.record_encoding("degree 0", 32 * 16 * 48, 0.0)
    ladder.forecast.record_decoding("degree 0", 32 * 16 * 48, 1, 1.0)
    assert not ViewPass(task, ladder).run()[0].dropped
    assert timed.count == 1
    assert [each.step for each in ladder.steps] == ["no mirrored copies"]


def test_copies_of_a_first_window_that_takes_longer_than_expected_are_left_out() -> None:
    """Nothing is known of its cost before, so it is begun; the mean is of what was run."""
    timed = Timed(Corner(), lambda n: 1.0)
    task = task_of(timed, RULE)
    ladder = timed.ladder(6.0, RULE, True)
    found = ViewPass(task, ladder).run()[0]
    assert 1 <= timed.count < 6
    assert [each.step for each in ladder.steps] == ["no mirrored copies"]
    first = np.asarray(found.probability)[0, :16, :8, :24]
    np.testing.assert_allclose(first, 1 / timed.count)
