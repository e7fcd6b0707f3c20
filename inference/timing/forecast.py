"""Whether what is still to come fits into the time left: sums over costs that were measured on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from vesal.inference.timing.call_costs import CallCosts
from vesal.inference.timing.clock import Clock

PLAN_MARGIN = 1.15
"""On the sum of what is to come; below 1.2, so that a plan that has a fifth to spare is run as it is."""
CALL_MARGIN = 1.15
"""On the slowest call so far, before another one is begun."""
END_MARGIN = 1.25
"""On what finishing the coarse result took, for finishing the final one: its classes have finer borders."""


@dataclass(frozen=True)
class Load:
    """Windows that are still to come on one view, or on views like it."""

    degree: int
    voxels: int
    """Of one window."""
    windows: int
    """How many at most."""
    times: int = 1
    """Rounds, or views like this one."""
    passes: int = 1
    """Calls of the network for each window; the clock is asked before the first of them."""
    views: int = 0
    """Views that have to be sampled for them."""
    count: Callable[[], int] | None = None
    """Counts the windows that hold something, where some may not; costs as much as sampling the view."""

    def counted(self) -> Load:
        """The same with the true number of windows."""
        return self if self.count is None else replace(self, windows=self.count(), count=None)


class Forecast:
    """Keeps the clock of one case and what its parts cost."""

    def __init__(self, clock: Clock, known: CallCosts | None = None) -> None:
        """`known` outlives a case: what others measured says whether the first window may be begun.

        It does not enter sums: other cases ask for other numbers of classes on other windows.
        """
        self._clock = clock
        self._costs = CallCosts()
        self._known = known or CallCosts()
        self._end_s: float | None = None
        self._sampling_s = 0.0
        self._end_was_empty = False
        self._views_s: list[float] = []
        self._calls_s = 0.0

    def now(self) -> float:
        """The case's clock; everything that is measured for it is measured by this one."""
        return self._clock.now()

    def spent_s(self) -> float:
        """Seconds since the case began."""
        return self._clock.spent_s()

    @contextmanager
    def call(self, degree: int, voxels: int) -> Iterator[None]:
        """Measure one call of the network on a window of so many voxels."""
        started = self.now()
        yield
        seconds = self.now() - started
        self._calls_s += seconds
        self._costs.saw(degree, voxels, seconds)
        self._known.saw(degree, voxels, seconds)

    @contextmanager
    def view(self) -> Iterator[None]:
        """Measure what one view costs beside its calls: sampling, blending, filtering."""
        started, called = self.now(), self._calls_s
        yield
        self._views_s.append(max(0.0, self.now() - started - (self._calls_s - called)))

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Measure sampling the volume on a view; a result takes the same way back."""
        started = self.now()
        yield
        self._sampling_s = max(self._sampling_s, self.now() - started)

    @contextmanager
    def ending(self, empty: bool = False) -> Iterator[None]:
        """Measure making, filtering and writing a label map: what still has to follow whatever is run.

        An ``empty`` one tells only what writing costs.
        """
        started = self.now()
        yield
        self._end_s, self._end_was_empty = self.now() - started, empty

    def end_s(self) -> float:
        """Seconds to keep for the end: those of the coarse result, before it those of writing zeros.

        Where there was no coarse stage, sampling a view is added.
        """
        if self._end_s is None:
            return END_MARGIN * self._clock.write_s
        return END_MARGIN * (self._end_s + (self._sampling_s if self._end_was_empty else 0.0))

    def needs_s(self, loads: Sequence[Load]) -> float:
        """Seconds that the windows and views of ``loads`` will take, without any margin."""
        view_s = sum(self._views_s) / len(self._views_s) if self._views_s else 0.0
        calls = (n.windows * n.times * n.passes * self._costs.likely(n.degree, n.voxels) for n in loads)
        return sum(calls) + view_s * sum(n.views for n in loads)

    def next_s(self, loads: Sequence[Load]) -> float:
        """Seconds that the first window of ``loads`` may take."""
        if not loads:
            return 0.0
        degree, voxels = loads[0].degree, loads[0].voxels
        return loads[0].passes * (self._costs.most(degree, voxels) or self._known.most(degree, voxels))

    def fits(self, loads: Sequence[Load]) -> bool:
        """Whether ``loads`` and the end of the case fit, and the next window even if it is a slow one."""
        if not loads or self._fits(loads):
            return True
        # Before anything is given up for it, it is looked at how much there really is to do.
        return any(load.count for load in loads) and self._fits([load.counted() for load in loads])

    def _fits(self, loads: Sequence[Load]) -> bool:
        left = self._clock.usable_s() - self.end_s()
        return PLAN_MARGIN * self.needs_s(loads) < left and CALL_MARGIN * self.next_s(loads) < left

    def why_not(self, loads: Sequence[Load]) -> str:
        """The reason for the report: what is left, and what it would take."""
        loads = [load.counted() for load in loads]
        windows = sum(load.windows * load.times for load in loads)
        return (
            f"{self._clock.left_s():.2f} s of {self._clock.budget_s:g} s left, {windows} more windows take "
            f"{self.needs_s(loads):.2f} s, the next up to {self.next_s(loads):.2f} s, filtering and writing "
            f"{self.end_s():.2f} s"
        )
