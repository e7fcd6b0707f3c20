"""What a call of the network is held to cost, from calls that were written down by hand."""

import pytest

from vesal.inference.timing.call_costs import MAX_GROWTH, RECENT, CallCosts

SIZE = 4096
FIRST, OTHER = "decoding degree 0", "decoding degree 1"


def costs_after(*seconds: float, key: str = FIRST, voxels: int = SIZE, prompts: int = 1) -> CallCosts:
    """Costs of such calls, the first one included."""
    costs = CallCosts()
    for one in seconds:
        costs.record(key, voxels, prompts, one)
    return costs


def test_nothing_seen_costs_nothing() -> None:
    assert (CallCosts().mean_s(FIRST, SIZE, 1), CallCosts().slowest_s(FIRST, SIZE, 1)) == (0.0, 0.0)


def test_the_first_call_compiles_and_is_held_for_the_most_only_while_alone() -> None:
    assert (costs_after(30.0).mean_s(FIRST, SIZE, 1), costs_after(30.0).slowest_s(FIRST, SIZE, 1)) == (
        0.0,
        30.0,
    )
    assert (
        costs_after(30.0, 2.0).mean_s(FIRST, SIZE, 1),
        costs_after(30.0, 2.0).slowest_s(FIRST, SIZE, 1),
    ) == (2.0, 2.0)


def test_the_mean_is_likely_and_the_slowest_the_most() -> None:
    costs = costs_after(1.0, 2.0, 6.0, 4.0)
    assert (costs.mean_s(FIRST, SIZE, 1), costs.slowest_s(FIRST, SIZE, 1)) == (4.0, 6.0)


def test_old_calls_are_forgotten() -> None:
    costs = costs_after(1.0, 50.0, *[2.0] * RECENT)
    assert (costs.mean_s(FIRST, SIZE, 1), costs.slowest_s(FIRST, SIZE, 1)) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("calls", "next_"),
    [((1.0, 1.5, 2.25), 3.375), ((1.0, 2.0, 9.0), MAX_GROWTH * 9.0), ((1.0, 9.0, 2.0), 9.0)],
)
def test_what_grew_twice_is_held_to_grow_again(calls: tuple[float, ...], next_: float) -> None:
    """By half, by more than is believed, and once only: that is a stall."""
    assert costs_after(0.1, *calls).slowest_s(FIRST, SIZE, 1) == pytest.approx(next_)


@pytest.mark.parametrize(
    ("voxels", "likely", "most"), [(500, 1.0, 2.0), (1000, 2.0, 2.0), (2000, 4.0, 4.0), (9000, 6.0, 6.0)]
)
def test_sizes_in_between_are_interpolated(voxels: int, likely: float, most: float) -> None:
    """2 s for 1000 voxels, 6 s for 3000."""
    costs = costs_after(9.0, 2.0, voxels=1000)
    costs.record(FIRST, 3000, 1, 6.0)
    assert costs.mean_s(FIRST, voxels, 1) == pytest.approx(likely)
    assert costs.slowest_s(FIRST, voxels, 1) == pytest.approx(most)


def test_another_degree_is_judged_by_those_that_were_seen() -> None:
    """Its graph will be compiled too: the most counts the first call of degree 0."""
    costs = costs_after(9.0, 2.0)
    assert (costs.mean_s(OTHER, SIZE, 1), costs.slowest_s(OTHER, SIZE, 1)) == (2.0, 9.0)
    costs.record(OTHER, SIZE, 1, 4.0)
    assert (costs.mean_s(OTHER, SIZE, 1), costs.slowest_s(OTHER, SIZE, 1)) == (2.0, 4.0)


@pytest.mark.parametrize(("prompts", "likely"), [(1, 2.0), (4, 2.0), (6, 3.0), (8, 4.0), (20, 10.0)])
def test_cost_grows_with_the_number_of_prompts(prompts: int, likely: float) -> None:
    """2 s for 4 prompts, 4 s for 8. In between it is interpolated, beyond it grows in proportion; fewer than
    ever seen cost no less, as a part of a call does not depend on them.
    """
    costs = costs_after(9.0, 2.0, prompts=4)
    costs.record(FIRST, SIZE, 8, 4.0)
    assert costs.mean_s(FIRST, SIZE, prompts) == pytest.approx(likely)
    assert costs.slowest_s(FIRST, SIZE, prompts) == pytest.approx(likely)


def test_voxels_and_prompts_count_together() -> None:
    """1000 voxels: 1 s for one prompt, 3 s for three; 3000 voxels: 2 s and 6 s."""
    costs = costs_after(9.0, 1.0, voxels=1000)
    for voxels, prompts, seconds in ((1000, 3, 3.0), (3000, 1, 2.0), (3000, 3, 6.0)):
        costs.record(FIRST, voxels, prompts, seconds)
    assert costs.mean_s(FIRST, 2000, 2) == pytest.approx((1.0 + 3.0 + 2.0 + 6.0) / 4)
    assert costs.mean_s(FIRST, 3000, 6) == pytest.approx(2 * 6.0)


def test_calls_without_prompts_are_compared_by_voxels_alone() -> None:
    """Those are encodings."""
    costs = costs_after(9.0, 2.0, key="encoding degree 0", prompts=0)
    assert costs.mean_s("encoding degree 0", SIZE, 0) == costs.slowest_s("encoding degree 0", SIZE, 0) == 2.0
