"""One pass at a time: what the coarse and the fine stage look at, and with which spatial prompt."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest

from inference import pace as pace_module
from inference.budget import Clock
from inference.geometry import Box, View
from inference.models import VolumeModel
from inference.pace import Pace
from inference.plan import Query
from inference.profile import StageRule
from inference.stages import MOST_QUERIES, Pass, Sight, half_of_blocks, run_coarse, run_fine
from tests.inference.fake_models import BANK, Bright, Constant, made_image

LIVER = Query(1, "liver", "liver", None, "CT", "organ")
SPLEEN = Query(2, "spleen", "spleen", None, "CT", "organ")
RULE = StageRule(voxels=32**3)
LOW = (slice(4, 12), slice(4, 12), slice(4, 12))


def model_of(graph: Callable) -> VolumeModel:
    """One network for all degrees."""
    return VolumeModel({0: graph, 1: graph, 2: graph}, BANK)


def sight_of(image: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Sight:
    """A volume as the stages see it."""
    return Sight(image, spacing, (100.0, 50.0))


@pytest.fixture
def pace() -> Pace:
    """All the time in the world."""
    return Pace(Clock(600.0, 0.0, lambda: 0.0))


def test_a_view_is_shown_in_two_channels() -> None:
    """Level 150: 150 / 127.5 - 1, and one deviation above a mean of 100; outside of the volume black."""
    view = View((-8.0, 0.0, 0.0), (1.0, 1.0, 1.0), (16, 16, 16), 0, 0)
    channels = sight_of(np.full((8, 16, 16), 150, np.uint8)).channels(view)
    np.testing.assert_allclose(channels[0, 8:], 150 / 127.5 - 1, rtol=1e-6)
    np.testing.assert_allclose(channels[1, 8:], 1.0, rtol=1e-6)
    assert (channels[0, :8] == -1).all() and (channels[1, :8] == -2).all()


def test_the_coarse_stage_sees_everything_for_every_query(pace: Pace) -> None:
    image = made_image((32, 32, 32), (LOW, 200))
    result = run_coarse(sight_of(image), model_of(Bright()), [LIVER, SPLEEN], RULE, pace)
    assert result.view == View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (32, 32, 32), 0, 0)
    np.testing.assert_array_equal(result.probability[0] > 0.5, image == 200)
    assert not result.probability[1].any()
    assert (result.presence[0, 4:12] > 0.9).all() and not result.presence[0, 12:].any()
    assert (result.windows, result.skipped, result.unseen) == (1, 0, 0)


def test_many_queries_are_asked_in_passes(pace: Pace) -> None:
    """35 queries: 16, 16 and 3; the odd ones are spleens, and each row belongs to its query."""
    bright = Bright()
    image = made_image((16, 16, 16), (LOW, 200))
    queries = [(LIVER, SPLEEN)[i % 2] for i in range(2 * MOST_QUERIES + 3)]
    result = run_coarse(sight_of(image), model_of(bright), queries, RULE, pace)
    assert [c["text"].shape[1] for c in bright.calls] == [MOST_QUERIES, MOST_QUERIES, 3]
    assert result.probability.any((1, 2, 3)).tolist() == [i % 2 == 0 for i in range(len(queries))]
    assert result.presence.shape == (len(queries), 16)


def coarse_with(cut: tuple[slice, slice, slice] | None, classes: int = 1) -> Pass:
    """A coarse result on 32^3 voxels at step 2 of a volume of 64^3; 0.8 in ``cut`` of the last class."""
    probability = np.zeros((classes, 32, 32, 32), np.float32)
    if cut is not None:
        probability[-1][cut] = 0.8
    view = View((0.0, 0.0, 0.0), (2.0, 2.0, 2.0), (32, 32, 32), 0, 0)
    return Pass(view, probability, np.ones((classes, 32), np.float32), 1, 0, 0.0, "")


def test_the_fine_stage_looks_around_the_coarse_result(pace: Pace) -> None:
    """Voxels 4..12 at step 2 are 8..24; grown 1.5 times 4..28, which 32 voxels hold at their own grid."""
    constant = Constant(0.6)
    rule = StageRule(voxels=32**3, grow=1.5)
    image = made_image((64, 64, 64))
    result = run_fine(sight_of(image), model_of(constant), [SPLEEN], rule, coarse_with(LOW, 2), [1], pace)
    assert result is not None
    assert result.view.box == Box((0.0, 0.0, 0.0), (32.0, 32.0, 32.0))
    prompt = constant.calls[0]["prompt"][0, 0]
    assert prompt[16, 16, 16] == pytest.approx(0.8) and prompt[30, 30, 30] == 0
    assert "grown 1.5 times" in result.why


def test_an_empty_coarse_result_gives_nothing_to_look_at(pace: Pace) -> None:
    image = made_image((64, 64, 64))
    assert (
        run_fine(sight_of(image), model_of(Constant(1)), [LIVER], RULE, coarse_with(None), [0], pace) is None
    )


def test_only_the_queries_of_the_view_point_the_way(pace: Pace) -> None:
    """The other class's coarse result is no reason to look for this one."""
    image = made_image((64, 64, 64))
    coarse = coarse_with(LOW, 2)
    assert run_fine(sight_of(image), model_of(Constant(1)), [LIVER], RULE, coarse, [0], pace) is None


def test_without_a_coarse_stage_everything_is_seen_without_prompt(pace: Pace) -> None:
    constant = Constant(0.6)
    image = made_image((64, 64, 64))
    result = run_fine(sight_of(image), model_of(constant), [LIVER], RULE, None, [0], pace)
    assert result is not None
    assert result.view.box.start[0] <= 0 and result.view.box.stop[0] >= 64
    assert not constant.calls[0]["prompt"].any()


def test_a_round_without_time_does_not_cost_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 10 s in 165 s: two for the cost, the 8 of the first round, 5 of the second. The whole first
    round was dropped for the second that was not.
    """
    at = [0.0]
    monkeypatch.setattr(pace_module, "time", SimpleNamespace(monotonic=lambda: at[0]))

    def slow(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        at[0] += 10.0
        return Constant(0.6)(inputs)

    pace = Pace(Clock(165.0, 0.0, lambda: at[0]))
    rule = StageRule(voxels=32**3, windows=8, overlap=0.0, rounds=3)
    image = made_image((64, 64, 64))
    result = run_fine(sight_of(image), model_of(slow), [LIVER], rule, None, [0], pace)
    assert result is not None
    np.testing.assert_allclose(result.probability, 0.6, rtol=1e-5)
    assert (result.windows, result.unseen) == (8 + 5, 0)
    assert "1 of 3 rounds, as time ran short" in result.why


def test_a_window_with_complementary_masks_costs_two_predictions(monkeypatch: pytest.MonkeyPatch) -> None:
    """10 s each, 20 s a window: with 50 s left one more (30 s) fits, two (60 s) do not. Half was counted."""
    at = [0.0]
    monkeypatch.setattr(pace_module, "time", SimpleNamespace(monotonic=lambda: at[0]))

    def slow(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        at[0] += 10.0
        return Constant(0.6)(inputs)

    pace = Pace(Clock(110.0, 0.0, lambda: at[0]))
    rule = StageRule(voxels=32**3, rounds=3, complementary=8)
    run_fine(sight_of(made_image((64, 64, 64))), model_of(slow), [LIVER], rule, coarse_with(LOW), [0], pace)
    assert at[0] == 60.0
    assert pace.allows_windows(1, 0) and not pace.allows_windows(2, 0)


@pytest.mark.parametrize(
    ("shape", "block", "seen"),
    [((16, 16, 16), 8, 4 * 512), ((32, 16, 16), 16, 4096), ((4, 4, 4), 8, 64), ((8, 8, 24), 8, 512)],
)
def test_half_of_the_blocks_are_seen(shape: tuple[int, int, int], block: int, seen: int) -> None:
    """8 blocks: 4; 2 blocks: 1; a single block: that one; 3 blocks: 1."""
    mask = half_of_blocks(shape, block)
    assert (mask.shape, mask.dtype) == (shape, bool)
    assert np.count_nonzero(mask) == seen
    np.testing.assert_array_equal(mask, half_of_blocks(shape, block))


def test_blocks_at_the_end_are_cut() -> None:
    """20 voxels in blocks of 8: 8, 8 and 4, each all seen or all hidden."""
    mask = half_of_blocks((20, 20, 20), 8)
    for d in (0, 8, 16):
        for h in (0, 8, 16):
            for w in (0, 8, 16):
                assert len(np.unique(mask[d : d + 8, h : h + 8, w : w + 8])) == 1
