"""Whether what is to come fits: sums with a clock that is set by hand."""

from dataclasses import replace

import pytest

from vesal.inference.timing.call_costs import CallCosts
from vesal.inference.timing.clock import LEAVE_S, Clock
from vesal.inference.timing.forecast import (
    CALL_MARGIN,
    END_MARGIN,
    NEVER,
    PLAN_MARGIN,
    Approval,
    CostEstimate,
    Forecast,
)

KEY = "degree 0"


class Watch:
    """A clock that shows what it is told."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def watch() -> Watch:
    return Watch()


def pace_after(watch: Watch, *calls: float, write_s: float = 0.0) -> Forecast:
    """A pace of 60 s that has seen such calls on 4096 voxels at degree 0."""
    forecast = Forecast(Clock(60.0, 0.0, watch, write_s))
    for seconds in calls:
        watch.at += seconds
        forecast.record_decoding(KEY, 4096, 1, seconds)
    watch.at = 0.0
    return forecast


def fits_until(forecast: Forecast, watch: Watch, at: float, loads: list[CostEstimate]) -> bool:
    """Whether ``loads`` fit up to a moment and no longer."""
    watch.at = at - 0.01
    before = forecast.fits(loads)
    watch.at = at + 0.01
    return before and not forecast.fits(loads)


ONE = [CostEstimate(KEY, 4096, 1, 1)]


def test_without_measurements_there_must_only_be_time_left(watch: Watch) -> None:
    assert fits_until(pace_after(watch), watch, 60.0 - LEAVE_S, ONE)


def test_nothing_to_come_always_fits(watch: Watch) -> None:
    watch.at = 100.0
    assert Forecast(Clock(60.0, 0.0, watch)).fits([])


def test_before_a_result_was_written_the_end_costs_what_zeros_did(watch: Watch) -> None:
    forecast = pace_after(watch, write_s=2.0)
    assert fits_until(forecast, watch, 60.0 - LEAVE_S - END_MARGIN * 2.0, ONE)


def test_afterwards_the_end_costs_what_the_coarse_one_did(watch: Watch) -> None:
    """Zeros compress well: 2 s for them, 3 s for the coarse result."""
    forecast = pace_after(watch, write_s=2.0)
    with forecast.ending():
        watch.at += 3.0
    assert fits_until(forecast, watch, 60.0 - LEAVE_S - END_MARGIN * 3.0, ONE)


@pytest.mark.parametrize(("empty", "end_s"), [(False, 3.0), (True, 3.0 + 5.0)])
def test_an_empty_result_does_not_tell_what_the_way_back_costs(
    watch: Watch, empty: bool, end_s: float
) -> None:
    """Without a coarse stage: 3 s for writing nothing, 5 s for sampling the largest view, and back again."""
    forecast = pace_after(watch)
    with forecast.ending(empty):
        watch.at += 3.0
    for seconds in (5.0, 2.0):
        with forecast.sampling():
            watch.at += seconds
    assert forecast.end_s() == END_MARGIN * end_s


def test_planes_that_are_enlarged_at_the_end_are_kept_time_for(watch: Watch) -> None:
    """Less where fewer voxels are run, and only until labels were made: then they are part of the end."""
    forecast = pace_after(watch, write_s=2.0)
    forecast.record_finishing(4.0, 0.5)
    assert forecast.end_s() == END_MARGIN * (2.0 + 4.0)
    assert forecast.end_s(0.25) == END_MARGIN * (2.0 + 2.0)
    assert fits_until(forecast, watch, 60.0 - LEAVE_S - END_MARGIN * 6.0, ONE)
    with forecast.ending():
        watch.at += 3.0
    assert forecast.end_s() == END_MARGIN * 3.0


def test_the_sum_counts_windows_rounds_and_decodings(watch: Watch) -> None:
    """2 s a call; 3 windows with two decodings each in two views alike: 12 calls."""
    forecast = pace_after(watch, 9.0, 2.0)
    assert forecast.needs_s([CostEstimate(KEY, 4096, 1, 3, times=2, decodings=2)]) == 24.0
    assert fits_until(
        forecast, watch, 60.0 - LEAVE_S - PLAN_MARGIN * 24.0, [CostEstimate(KEY, 4096, 1, 3, 2, 2)]
    )


def test_the_next_window_must_fit_even_if_it_is_a_slow_one(watch: Watch) -> None:
    """9 s for the compiling first, then 1, 8 and 1 s: the mean is 3.3 s, the slowest 8."""
    forecast = pace_after(watch, 9.0, 1.0, 8.0, 1.0)
    assert fits_until(forecast, watch, 60.0 - LEAVE_S - CALL_MARGIN * 8.0, ONE)


def test_a_view_costs_more_than_its_calls(watch: Watch) -> None:
    """A view of 7 s of which the call took 2: 5 s for each further one."""
    forecast = pace_after(watch, 9.0, 2.0)
    with forecast.view():
        watch.at += 3.0
        watch.at += 2.0
        forecast.record_decoding(KEY, 4096, 1, 2.0)
        watch.at += 2.0
    assert forecast.needs_s([CostEstimate(KEY, 4096, 1, 1, times=2, views=2)]) == 2 * 2.0 + 2 * 5.0


def test_windows_are_counted_before_anything_is_given_up(watch: Watch) -> None:
    """40 windows of 2 s do not fit into 60 s; the 10 that hold something do."""
    asked = []

    def count(busy: int) -> int:
        asked.append(busy)
        return busy

    forecast = pace_after(watch, 2.0, 2.0)
    assert forecast.fits([CostEstimate(KEY, 4096, 1, 5, count=lambda: count(1))]) and asked == []
    assert forecast.fits([CostEstimate(KEY, 4096, 1, 40, count=lambda: count(10))]) and asked == [10]
    assert not forecast.fits([CostEstimate(KEY, 4096, 1, 40, count=lambda: count(30))])


def test_the_reason_names_what_is_left_and_what_it_takes(watch: Watch) -> None:
    forecast = pace_after(watch, 10.0, 10.0, write_s=2.0)
    watch.at = 50.0
    assert forecast.why_not([CostEstimate(KEY, 4096, 1, 3)]) == (
        "10.00 s of 60 s left, 3 more windows take 30.00 s, the next up to 10.00 s, "
        "filtering and writing 2.50 s"
    )


def test_what_one_case_measured_the_next_one_knows(watch: Watch) -> None:
    """For its first window only: sums wait for what it measures itself."""
    known = CallCosts()
    first = Forecast(Clock(60.0, 0.0, watch), known)
    for _ in range(2):
        watch.at += 5.0
        first.record_decoding(KEY, 4096, 1, 5.0)
    second = Forecast(Clock(60.0, 0.0, watch), known)
    assert (second.next_s(ONE), second.needs_s(ONE)) == (5.0, 0.0)
    watch.at += 1.0
    second.record_decoding(KEY, 4096, 1, 1.0)
    assert second.next_s(ONE) == 1.0


def encoded_and_decoded(watch: Watch, encoding_s: float, decoding_s: float, prompts: int = 1) -> Forecast:
    """A forecast of 60 s that has seen two windows, each encoded and decoded once."""
    forecast = Forecast(Clock(60.0, 0.0, watch))
    for _ in range(2):
        forecast.record_encoding(KEY, 4096, encoding_s)
        forecast.record_decoding(KEY, 4096, prompts, decoding_s)
    return forecast


def test_encodings_and_decodings_are_counted_apart(watch: Watch) -> None:
    """7 s for a window's encoding, 1 s for each decoding: 3 windows of two decodings, in two rounds."""
    forecast = encoded_and_decoded(watch, 7.0, 1.0)
    estimate = CostEstimate(KEY, 4096, 1, 3, times=2, decodings=2)
    assert forecast.needs_s([estimate]) == 3 * 2 * (7.0 + 2 * 1.0)
    assert forecast.next_s([estimate]) == 7.0 + 2 * 1.0
    assert forecast.calls_s == 2 * (7.0 + 1.0)


def test_more_prompts_cost_more_decoding_and_no_more_encoding(watch: Watch) -> None:
    forecast = encoded_and_decoded(watch, 7.0, 1.0, prompts=2)
    assert forecast.needs_s([CostEstimate(KEY, 4096, 6, 1)]) == 7.0 + 3 * 1.0
    assert forecast.next_s([CostEstimate(KEY, 4096, 6, 1)]) == 7.0 + 3 * 1.0


def test_a_window_that_was_encoded_once_is_not_held_to_cost_its_decodings_again(watch: Watch) -> None:
    """Encodings that take no time are known by their first call alone, later ones are decoded again and
    again: what a decoding takes says nothing of them.
    """
    forecast = Forecast(Clock(60.0, 0.0, watch))
    forecast.record_encoding(KEY, 4096, 0.0)
    for _ in range(2):
        forecast.record_decoding(KEY, 4096, 1, 10.0)
    assert forecast.needs_s([CostEstimate(KEY, 4096, 1, 1, decodings=2)]) == 20.0


def test_an_approval_ends_with_a_window_slower_than_expected() -> None:
    """Each window that is not moves the moment on by its part of the sum."""
    approval = Approval(expected_s=2.0, plan_until=10.0, window_until=50.0)
    assert approval.until == 10.0
    approval.ran(2.0)
    assert approval.until == 10.0 + PLAN_MARGIN * 2.0
    approval.ran(2.1)
    assert approval.until == NEVER
    approval.ran(1.0)
    assert approval.until == NEVER


def test_windows_that_are_kept_encoded_count_once(watch: Watch) -> None:
    """Encodings of 4 s, decodings of 1 s: four windows of two places are two encodings at most."""
    forecast = pace_after(watch, 1.0, 1.0)
    for _ in range(2):
        forecast.record_encoding(KEY, 4096, 4.0)
    twice = CostEstimate(KEY, 4096, 1, 2, places=("a", "b"), most_kept=2)
    assert forecast.needs_s([twice, twice]) == 2 * 4.0 + 4 * 1.0
    assert forecast.needs_s([replace(twice, most_kept=1)] * 2) == 4 * 4.0 + 4 * 1.0, "too few are kept"
    forecast.record_encoding(KEY, 4096, 4.0, "b", 2)
    assert forecast.needs_s([twice, twice]) == 1 * 4.0 + 4 * 1.0
    assert forecast.next_s([replace(twice, places=("b", "a"))]) == 1.0


def test_what_was_kept_says_nothing_of_an_encoding(watch: Watch) -> None:
    forecast = pace_after(watch, 1.0, 1.0)
    for place, seconds in (("a", 4.0), ("b", 4.0), ("a", 0.0), ("b", 0.0)):
        forecast.record_encoding(KEY, 4096, seconds, place, 2)
    assert forecast.needs_s([CostEstimate(KEY, 4096, 1, 1)]) == 4.0 + 1.0


def test_what_windows_take_beside_their_calls_counts(watch: Watch) -> None:
    forecast = pace_after(watch, 1.0, 1.0)
    for _ in range(2):
        forecast.record_beside(KEY, 4096, 1, 0.5)
    assert forecast.needs_s([CostEstimate(KEY, 4096, 1, 4)]) == 4 * 1.5
