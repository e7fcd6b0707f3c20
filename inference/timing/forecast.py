"""Whether the remaining work fits into the remaining time, from costs measured so far."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from vesal.inference.timing.call_costs import MAX_GROWTH, CallCosts
from vesal.inference.timing.clock import Clock

PLAN_MARGIN = 1.15
"""Factor on the remaining work; below 1.2, so that a plan with a fifth to spare is run unchanged."""
CALL_MARGIN = 1.15
"""Factor on the slowest call so far, before another one is begun."""
END_MARGIN = 1.25
"""Factor on finishing the coarse result, for the final one: its classes have finer borders."""


@dataclass(frozen=True)
class CostEstimate:
    """Windows that are still to come on one view, or on views like it.

    A window is encoded once, and decoded as often as its prompts are asked.
    """

    key: str
    """What is run, see ``families.contract.StageModel.cost``."""
    voxels: int
    """Of one window."""
    prompts: int
    """That are decoded at once."""
    windows: int
    """How many at most."""
    times: int = 1
    """Rounds, or views like this one."""
    decodings: int = 1
    """Decodings of each window; the clock is checked before its encoding."""
    views: int = 0
    """Views that have to be sampled for them."""
    count: Callable[[], int] | None = None
    """Counts the windows that are not skipped; costs as much as sampling the view."""
    encodings: int = 1
    """Encodings of each window; 0 where it is encoded already."""
    places: tuple[Hashable, ...] | None = None
    """Where the family keeps encoded windows: by what each of these is kept. Only those that are not kept by
    then are encoded."""
    most_kept: int = 0
    """How many it keeps."""

    def counted(self) -> CostEstimate:
        """The same with the true number of windows."""
        return self if self.count is None else replace(self, windows=self.count(), count=None)


class KeptPlaces:
    """Which windows are kept encoded: the last ones that were used."""

    def __init__(self, places: Iterable[Hashable] = ()) -> None:
        """``places`` by which they are kept, the last one used at the end."""
        self._places = OrderedDict.fromkeys(places)

    def __contains__(self, place: Hashable) -> bool:
        """Whether it is kept."""
        return place in self._places

    def copy(self) -> KeptPlaces:
        """Another one, to look ahead."""
        return KeptPlaces(self._places)

    def use(self, place: Hashable, most: int) -> bool:
        """Use a window, which is kept then, of ``most`` at a time; whether it has to be encoded."""
        new = place not in self._places
        self._places[place] = None
        self._places.move_to_end(place)
        while len(self._places) > most:
            self._places.popitem(last=False)
        return new


NEVER = float("-inf")
ENCODING, DECODING, BESIDE = "encoding ", "decoding ", "beside "
"""The two kinds of calls, and what a window takes beside them, which are measured apart."""


class Approval:
    """That a plan fits, and until when, so that it is not estimated again before every window.

    `until` is the moment up to which it holds: as long as no window takes longer than the mean at the time,
    no estimate rises. Every window is to be reported to `ran`.
    """

    def __init__(
        self, expected_s: float = 0.0, plan_until: float = NEVER, window_until: float = NEVER
    ) -> None:
        """By default it holds no longer than now.

        Args:
            expected_s: mean seconds of the next window.
            plan_until: moment up to which the sum of what is to come fits; each window moves it on, as it was
                part of the sum.
            window_until: moment up to which the next window fits, even if they take longer and longer.
        """
        self._expected_s, self._plan_until, self._window_until = expected_s, plan_until, window_until
        self.until = min(plan_until, window_until)

    def ran(self, seconds: float) -> None:
        """Record the encoding and decodings of one window."""
        if seconds > self._expected_s:
            self.until = NEVER
        elif self.until > NEVER:
            self._plan_until += PLAN_MARGIN * self._expected_s
            self.until = min(self._plan_until, self._window_until)


class Forecast:
    """Keeps the clock of one case and what its parts cost."""

    def __init__(self, clock: Clock, known: CallCosts | None = None) -> None:
        """`known` are costs of other cases, which decide whether the first window may be begun.

        They do not enter sums: other cases have other numbers of classes on other windows.
        """
        self._clock = clock
        self.now = clock.now
        """The case's clock, for all measurements."""
        self._costs = CallCosts()
        self._known = known or CallCosts()
        self._end_s: float | None = None
        self._sampling_s = 0.0
        self._end_was_empty = False
        self._finishing_s, self._finishing_share = 0.0, 1.0
        self._views_s: list[float] = []
        self._save_s: float | None = None
        self._kept = KeptPlaces()
        self.calls_s = 0.0
        """Seconds in calls of the network so far, and in what is measured beside them window by window."""

    def anew(self) -> Forecast:
        """Another one on the same clock, without this case's measurements."""
        return Forecast(self._clock, self._known)

    def usable_s(self) -> float:
        """Seconds until the case's deadline; negative once it has passed."""
        return self._clock.usable_s()

    def spent_s(self) -> float:
        """Seconds since the case began."""
        return self._clock.spent_s()

    def record_encoding(
        self, key: str, voxels: int, seconds: float, place: Hashable = None, most_kept: int = 0
    ) -> None:
        """Record that a window of ``voxels`` voxels was encoded. One that was kept of before, by its
        ``place``, tells nothing of what an encoding costs.
        """
        if place is None or self._kept.use(place, most_kept):
            self._record(ENCODING + key, voxels, 0, seconds)

    def record_decoding(self, key: str, voxels: int, prompts: int, seconds: float) -> None:
        """Record that so many ``prompts`` were decoded in a window of ``voxels`` voxels."""
        self._record(DECODING + key, voxels, prompts, seconds)

    def record_beside(self, key: str, voxels: int, prompts: int, seconds: float) -> None:
        """Record what one of several windows took beside its calls: cutting it out, blending, packing."""
        self._record(BESIDE + key, voxels, prompts, seconds)

    def _record(self, key: str, voxels: int, prompts: int, seconds: float) -> None:
        self.calls_s += seconds
        self._costs.record(key, voxels, prompts, seconds)
        self._known.record(key, voxels, prompts, seconds)

    @contextmanager
    def view(self) -> Iterator[None]:
        """Measure what one view costs beside its calls: sampling, blending, filtering."""
        started, called = self.now(), self.calls_s
        yield
        self._views_s.append(max(0.0, self.now() - started - (self.calls_s - called)))

    @contextmanager
    def sampling(self) -> Iterator[None]:
        """Measure sampling the volume on a view; a result is resampled the same way back."""
        started = self.now()
        yield
        self._sampling_s = max(self._sampling_s, self.now() - started)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Measure bringing a better result to disk between two views."""
        started = self.now()
        yield
        self._save_s = max(self._save_s or 0.0, self.now() - started)

    def may_save(self, estimates: Sequence[CostEstimate]) -> bool:
        """Whether ``estimates`` still fit after a better result was brought to disk: none of them is given up
        for it. The first time it is assumed to take what the coarse result did.
        """
        save_s = self._save_s if self._save_s is not None else self._end_s or 0.0
        left = self._clock.usable_s() - self.end_s() - CALL_MARGIN * save_s
        return PLAN_MARGIN * self.needs_s(estimates) < left and CALL_MARGIN * self.next_s(estimates) < left

    @contextmanager
    def ending(self, empty: bool = False) -> Iterator[None]:
        """Measure making, filtering and writing a label map, which every case ends with.

        An ``empty`` one measures only the writing.
        """
        started = self.now()
        yield
        self._end_s, self._end_was_empty = self.now() - started, empty
        self._finishing_s = 0.0

    def record_finishing(self, seconds: float, share: float = 1.0) -> None:
        """Record what making the labels of the view that is run will take beside the end so far, as its
        planes are enlarged when they are read; ``share`` of its voxels are run.
        """
        self._finishing_s, self._finishing_share = seconds, share

    def end_s(self, share: float = 1.0) -> float:
        """Seconds to keep for the end: those of the coarse result, before it those of writing zeros.

        Where there was no coarse stage, sampling a view is added; and what was told of planes that are
        enlarged at the end, less where a smaller ``share`` of the voxels is run.
        """
        finishing_s = self._finishing_s * min(1.0, share / self._finishing_share)
        if self._end_s is None:
            return END_MARGIN * (self._clock.write_s + finishing_s)
        back_s = self._sampling_s if self._end_was_empty else 0.0
        return END_MARGIN * (self._end_s + back_s + finishing_s)

    def needs_s(self, estimates: Sequence[CostEstimate]) -> float:
        """Seconds that the windows and views of ``estimates`` will take, without any margin."""
        view_s = sum(self._views_s) / len(self._views_s) if self._views_s else 0.0
        kept = self._kept.copy()
        calls = (
            self._encodings(n, kept) * self._encoding_s(n)
            + n.windows * n.times * (self._decodings_s(n) + self._beside_s(n))
            for n in estimates
        )
        return sum(calls) + view_s * sum(n.views for n in estimates)

    @staticmethod
    def _encodings(estimate: CostEstimate, kept: KeptPlaces) -> float:
        """Windows that are encoded, where those of ``kept`` are by now; it is moved on."""
        n = estimate
        if not n.places:
            return n.windows * n.times * n.encodings
        new = sum(kept.use(place, n.most_kept) for place in n.places)
        return n.encodings * new * n.windows / len(n.places)

    def _encoding_s(self, estimate: CostEstimate) -> float:
        return self._costs.mean_s(ENCODING + estimate.key, estimate.voxels, 0)

    def _decodings_s(self, estimate: CostEstimate) -> float:
        n = estimate
        return n.decodings * self._costs.mean_s(DECODING + n.key, n.voxels, n.prompts)

    def _beside_s(self, estimate: CostEstimate) -> float:
        n = estimate
        return self._costs.mean_s(BESIDE + n.key, n.voxels, n.prompts)

    def _least_s(self, estimate: CostEstimate) -> float:
        """Mean seconds of one window; where it may be kept encoded, of its decodings alone."""
        encodings = 0 if estimate.places else estimate.encodings
        return encodings * self._encoding_s(estimate) + self._decodings_s(estimate)

    def next_s(self, estimates: Sequence[CostEstimate]) -> float:
        """Seconds that the first window of ``estimates`` may take."""
        if not estimates:
            return 0.0
        first = estimates[0]
        kept = first.places is not None and first.places[0] in self._kept
        encodings = 0 if kept else first.encodings
        encoding = encodings * self._slowest_s(ENCODING + first.key, first.voxels, 0)
        return encoding + first.decodings * self._slowest_s(DECODING + first.key, first.voxels, first.prompts)

    def _slowest_s(self, key: str, voxels: int, prompts: int) -> float:
        own = self._costs.slowest_s(key, voxels, prompts)
        return own or self._known.slowest_s(key, voxels, prompts)

    def fits(self, estimates: Sequence[CostEstimate], share: float = 1.0) -> bool:
        """Whether ``estimates`` and the end of the case fit, and the next window even if it is a slow one.

        ``share`` of the first view's voxels are run.
        """
        if not estimates or self._fits(estimates, share):
            return True
        # Before a step is taken, skipped windows are subtracted.
        return any(n.count for n in estimates) and self._fits([n.counted() for n in estimates], share)

    def approve(self, estimates: Sequence[CostEstimate]) -> Approval:
        """How long it will hold that ``estimates`` fit, as their first windows are run."""
        if not estimates:
            return Approval()
        first, now = estimates[0], self.now()
        left = self._clock.usable_s() - self.end_s()
        return Approval(
            self._least_s(first),
            now + left - PLAN_MARGIN * self.needs_s(estimates),
            now + left - CALL_MARGIN * MAX_GROWTH * self.next_s(estimates),
        )

    def _fits(self, estimates: Sequence[CostEstimate], share: float) -> bool:
        left = self._clock.usable_s() - self.end_s(share)
        return PLAN_MARGIN * self.needs_s(estimates) < left and CALL_MARGIN * self.next_s(estimates) < left

    def why_not(self, estimates: Sequence[CostEstimate]) -> str:
        """The reason for the report: time left and time needed."""
        estimates = [n.counted() for n in estimates]
        windows = sum(n.windows * n.times for n in estimates)
        return (
            f"{self._clock.left_s():.2f} s of {self._clock.budget_s:g} s left, {windows} more windows take "
            f"{self.needs_s(estimates):.2f} s, the next up to {self.next_s(estimates):.2f} s, filtering and "
            f"writing {self.end_s():.2f} s"
        )
