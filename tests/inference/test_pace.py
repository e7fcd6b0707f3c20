"""Whether one more view fits: sums with a clock that is set by hand."""

from types import SimpleNamespace

import pytest

from inference import pace as pace_module
from inference.budget import Clock
from inference.pace import LEAST_RESERVE_S, MARGIN, RESERVE_FACTOR, Pace


class Watch:
    """A clock that shows what it is told."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_without_measurements_only_the_reserve_is_kept(watch: Watch) -> None:
    pace = Pace(Clock(60.0, 0.0, watch))
    watch.at = 60.0 - LEAST_RESERVE_S - 0.01
    assert pace.allows_view()
    watch.at = 60.0 - LEAST_RESERVE_S
    assert not pace.allows_view()


def test_the_slowest_view_counts_with_its_margin(watch: Watch) -> None:
    """Views of 4 s and 2 s: the next may take 1.5 * 4 s, and 1 s is kept."""
    pace = Pace(Clock(60.0, 0.0, watch))
    pace.saw_view(4.0)
    pace.saw_view(2.0)
    watch.at = 60.0 - MARGIN * 4.0 - LEAST_RESERVE_S - 0.01
    assert pace.allows_view()
    watch.at += 0.02
    assert not pace.allows_view()


def test_writing_that_was_slow_is_kept_free(watch: Watch) -> None:
    """3 s for the coarse result: 9 s for the last one."""
    pace = Pace(Clock(60.0, 0.0, watch))
    pace.saw_writing(3.0)
    watch.at = 60.0 - RESERVE_FACTOR * 3.0 - 0.01
    assert pace.allows_view()
    watch.at += 0.02
    assert not pace.allows_view()


def test_fast_writing_does_not_lower_the_reserve(watch: Watch) -> None:
    pace = Pace(Clock(60.0, 0.0, watch))
    pace.saw_writing(0.001)
    watch.at = 59.5
    assert not pace.allows_view()


def test_the_reason_names_what_is_left_and_what_it_takes(watch: Watch) -> None:
    pace = Pace(Clock(60.0, 0.0, watch))
    pace.saw_view(10.0)
    watch.at = 50.0
    assert pace.why_not() == ("10.0 s of 60 s left, a view takes up to 10.0 s, filtering and writing 1.0 s")


def test_windows_are_measured_by_degree_after_the_first(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first window of a degree compiles its graph: 30 s are not what the next one costs, 2 s are."""
    monkeypatch.setattr(pace_module, "time", SimpleNamespace(monotonic=watch))
    pace = Pace(Clock(60.0, 0.0, watch))
    for seconds in (30.0, 2.0):
        assert not pace.knows(0)
        with pace.window(0):
            watch.at += seconds
    assert pace.knows(0) and not pace.knows(1)
    # 28 s are left, 1 s of them kept: 9 windows of 1.5 * 2 s end exactly then, which is too late
    assert pace.allows_windows(8, 0) and not pace.allows_windows(9, 0)
    assert pace.allows_windows(1000, 1), "nothing is known of this degree"
