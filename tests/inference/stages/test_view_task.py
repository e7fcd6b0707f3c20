"""What a view that is still to come shows the network, which windows it skips, and what it costs."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.inference.fake_models import BANK, made_image, make_profile
from vesal.inference.data.prompt import Query
from vesal.inference.families.nano import NanoModel
from vesal.inference.geometry.layouts import Slices
from vesal.inference.geometry.views import View, whole
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages.view_task import ViewTask, Volume, decodings_of
from vesal.inference.timing.forecast import CostEstimate
from vesal.inference.timing.ladder import Effort

LIVER = Query(1, "liver", "liver", None, "CT", "organ")
SPLEEN = Query(2, "spleen", "spleen", None, "CT", "organ")
RULE = StageRule(window_voxels=32**3)


def task_of(image: np.ndarray, rule: StageRule = RULE, first: bool = True, **more: Any) -> ViewTask:
    """A view over a whole volume (D, H, W) for two targets; ``more`` are fields of the task."""
    model, queries = NanoModel({}, BANK, make_profile()), [LIVER, SPLEEN]
    volume = Volume(image, (1.0, 1.0, 1.0), (100.0, 50.0))
    prompts = model.encode_prompts(queries)
    return ViewTask(volume, model, queries, prompts, whole(image.shape), rule, first, **more)


def ones(view: View) -> np.ndarray:
    """A spatial prompt of both targets."""
    return np.ones((2, *view.shape), np.float32)


def test_a_view_is_shown_in_two_channels() -> None:
    """Level 150: 150 / 127.5 - 1, and one deviation above a mean of 100; outside of the volume black."""
    view = View((-8.0, 0.0, 0.0), (1.0, 1.0, 1.0), (16, 16, 16), 0, 0)
    channels = task_of(np.full((8, 16, 16), 150, np.uint8)).sample(view)
    np.testing.assert_allclose(channels[0, 8:], 150 / 127.5 - 1, rtol=1e-6)
    np.testing.assert_allclose(channels[1, 8:], 1.0, rtol=1e-6)
    assert (channels[0, :8] == -1).all() and (channels[1, :8] == -2).all()


LIMIT = RULE.min_window_prompt


def test_the_usual_limit_of_a_prompt() -> None:
    assert LIMIT == 0.02


@pytest.mark.parametrize(
    ("level", "spatial_prompt", "idle"),
    [
        (-1.0, None, True),
        (-0.99, None, False),
        (0.5, 0.0, True),
        (0.5, LIMIT / 2, True),
        (0.5, LIMIT * 2, False),
        (-1.0, 1.0, True),
    ],
)
def test_what_counts_as_idle(level: float, spatial_prompt: float | None, idle: bool) -> None:
    image = np.full((2, 4, 4, 4), level, np.float32)
    prompt = None if spatial_prompt is None else np.full((1, 4, 4, 4), spatial_prompt, np.float32)
    assert task_of(made_image((8, 8, 8))).skips(image, prompt) is idle


def test_a_rule_without_a_limit_skips_air_alone() -> None:
    task = task_of(made_image((8, 8, 8)), StageRule(32**3, min_window_prompt=0.0))
    no_prompt = np.zeros((1, 4, 4, 4), np.float32)
    assert not task.skips(np.full((2, 4, 4, 4), 0.5, np.float32), no_prompt)
    assert task.skips(np.full((2, 4, 4, 4), -1.0, np.float32), no_prompt)


def test_the_only_window_is_never_skipped() -> None:
    task, air = task_of(made_image((8, 8, 8))), np.full((2, 8, 8, 8), -1.0, np.float32)
    assert task.windows_to_run(air, None, (8, 8, 8), [(0, 0, 0)]) == [(0, 0, 0)]
    assert task.windows_to_run(air, None, (4, 8, 8), [(0, 0, 0), (4, 0, 0)]) == []


@pytest.mark.parametrize(
    ("block", "prompted", "decodings"), [(0, False, 1), (0, True, 1), (4, False, 1), (4, True, 2)]
)
def test_a_window_is_decoded_once_for_each_half_of_its_prompt(
    block: int, prompted: bool, decodings: int
) -> None:
    rule = StageRule(32**3, complementary_block=block)
    assert decodings_of(rule, prompted) == decodings
    task = task_of(made_image((32, 32, 32)), rule, False, spatial_prompt=ones if prompted else None)
    (estimate,) = task.cost(Effort())
    assert estimate == CostEstimate("degree 0", 32**3, 2, 1, decodings=decodings, views=1)


def test_rounds_of_one_window_are_counted_apart_from_the_first() -> None:
    """The first round has no prompt, so no halves; the two after it have."""
    task = task_of(made_image((32, 32, 32)), StageRule(32**3, rounds=3, complementary_block=4))
    assert task.cost(Effort()) == [
        CostEstimate("degree 0", 32**3, 2, 1, views=1),
        CostEstimate("degree 0", 32**3, 2, 1, times=2, decodings=2, encodings=0),
    ]


def test_context_that_the_network_sees_counts() -> None:
    """Runs of 2 slices of 16 x 16 voxels with 3 of context at both ends: 8 slices, four times."""
    rule = StageRule(2 * 16 * 16, max_windows=4, layout=Slices(axis=0, run=2, context=3))
    (estimate,) = task_of(made_image((8, 16, 16)), rule).cost(Effort())
    assert (estimate.voxels, estimate.windows) == (8 * 16 * 16, 4)


@pytest.mark.parametrize(
    ("limits", "slices_mm"),
    [((math.inf, math.inf), 6.0), ((10.0, math.inf), 6.0), ((10.0, 3.0), 3.0), ((2.0, 3.0), 2.0)],
)
def test_a_view_has_no_slices_that_are_too_thick_for_one_of_its_targets(
    limits: tuple[float, float], slices_mm: float
) -> None:
    task = task_of(np.zeros((8, 16, 16), np.uint8))
    task.volume = replace(task.volume, spacing_dhw_mm=(6.0, 1.0, 1.0))
    task.queries = [replace(q, thickest_slice_mm=mm) for q, mm in zip(task.queries, limits, strict=True)]
    assert task.lay(RULE).spacing_mm((6.0, 1.0, 1.0)) == (slices_mm, 1.0, 1.0)
    estimate = task.cost(Effort())[0]
    assert estimate.voxels == math.prod(task.lay(RULE).shape)
