"""What a call of the network is held to cost, from calls that were written down by hand."""

import pytest

from vesal.inference.timing.call_costs import MAX_GROWTH, RECENT, CallCosts

SIZE = 4096


def costs_after(*seconds: float, degree: int = 0, voxels: int = SIZE) -> CallCosts:
    """Costs of such calls, the first one included."""
    costs = CallCosts()
    for one in seconds:
        costs.record(degree, voxels, one)
    return costs


def test_nothing_seen_costs_nothing() -> None:
    assert (CallCosts().mean_s(0, SIZE), CallCosts().slowest_s(0, SIZE)) == (0.0, 0.0)


def test_the_first_call_compiles_and_is_held_for_the_most_only_while_alone() -> None:
    assert (costs_after(30.0).mean_s(0, SIZE), costs_after(30.0).slowest_s(0, SIZE)) == (0.0, 30.0)
    assert (costs_after(30.0, 2.0).mean_s(0, SIZE), costs_after(30.0, 2.0).slowest_s(0, SIZE)) == (2.0, 2.0)


def test_the_mean_is_likely_and_the_slowest_the_most() -> None:
    costs = costs_after(1.0, 2.0, 6.0, 4.0)
    assert (costs.mean_s(0, SIZE), costs.slowest_s(0, SIZE)) == (4.0, 6.0)


def test_old_calls_are_forgotten() -> None:
    costs = costs_after(1.0, 50.0, *[2.0] * RECENT)
    assert (costs.mean_s(0, SIZE), costs.slowest_s(0, SIZE)) == (2.0, 2.0)


@pytest.mark.parametrize(
    ("calls", "next_"),
    [((1.0, 1.5, 2.25), 3.375), ((1.0, 2.0, 9.0), MAX_GROWTH * 9.0), ((1.0, 9.0, 2.0), 9.0)],
)
def test_what_grew_twice_is_held_to_grow_again(calls: tuple[float, ...], next_: float) -> None:
    """By half, by more than is believed, and once only: that is a stall."""
    assert costs_after(0.1, *calls).slowest_s(0, SIZE) == pytest.approx(next_)


@pytest.mark.parametrize(
    ("voxels", "likely", "most"), [(500, 1.0, 2.0), (1000, 2.0, 2.0), (2000, 4.0, 4.0), (9000, 6.0, 6.0)]
)
def test_sizes_in_between_are_interpolated(voxels: int, likely: float, most: float) -> None:
    """2 s for 1000 voxels, 6 s for 3000."""
    costs = costs_after(9.0, 2.0, voxels=1000)
    costs.record(0, 3000, 6.0)
    assert costs.mean_s(0, voxels) == pytest.approx(likely)
    assert costs.slowest_s(0, voxels) == pytest.approx(most)


def test_another_degree_is_judged_by_those_that_were_seen() -> None:
    """Its graph will be compiled too: the most counts the first call of degree 0."""
    costs = costs_after(9.0, 2.0)
    assert (costs.mean_s(1, SIZE), costs.slowest_s(1, SIZE)) == (2.0, 9.0)
    costs.record(1, SIZE, 4.0)
    assert (costs.mean_s(1, SIZE), costs.slowest_s(1, SIZE)) == (2.0, 4.0)
