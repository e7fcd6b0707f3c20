"""Runs of slices over a view that share no voxel: in any order, and where time runs short only some of them.

What lies between two runs is then interpolated between the slices beside it. Each run is packed when it is
done (see ``stages.packed_probability``), so that memory does not grow with the view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from vesal.inference.geometry.views import View
from vesal.inference.stages.packed_probability import Packed, PackedProbability, pack_planes, unpack_planes
from vesal.inference.stages.sliding_window import Blended, Corner, Prediction, Slices


def wanted_runs(count: int, every: int) -> list[int]:
    """Numbers of the runs of ``count`` that are run if only every so manieth is: the last one always."""
    return sorted({*range(0, count, every), count - 1})


@dataclass(frozen=True)
class RunOrder:
    """Which runs are run; asked before each of them."""

    every: Callable[[], int]
    """only every so manieth run, as things are now: it grows where time runs short"""
    planned: int
    """what it was at first"""
    may_continue: Callable[[], bool]
    """whether the next one may be run; the ladder may take steps"""
    may_add: Callable[[], bool]
    """whether there is time for one that was given up"""


@dataclass(eq=False)
class SliceRuns:
    """The runs of one view, and what was predicted so far."""

    classes: int
    view: View
    size: Corner
    corners: Sequence[Corner]
    ran: int = 0
    skipped: int = 0
    presence: np.ndarray = field(init=False)
    """(N, n) float32; NaN where it is not known"""
    _probability: dict[int, list[Packed] | None] = field(default_factory=dict)
    _edges: dict[int, list[Packed]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Nothing is run yet."""
        self.presence = np.full((self.classes, self._length), np.nan, np.float32)

    @property
    def _axis(self) -> int:
        return self.view.thick_axis

    @property
    def _length(self) -> int:
        return self.view.shape[self._axis]

    @property
    def _plane(self) -> tuple[int, int]:
        a, b = (n for axis, n in enumerate(self.view.shape) if axis != self._axis)
        return a, b

    def at(self, number: int) -> Slices:
        """Where a run lies in an array (C, D, H, W)."""
        sides = zip(self.corners[number], self.size, self.view.shape, strict=True)
        d, h, w = (slice(first, min(first + n, length)) for first, n, length in sides)
        return slice(None), d, h, w

    def left(self, every: int) -> list[int]:
        """Numbers of the runs that are still to come, of those that ``wanted_runs`` gives."""
        return [n for n in wanted_runs(len(self.corners), every) if n not in self._probability]

    def run(
        self,
        predict: Callable[[Slices], Prediction],
        order: RunOrder,
        skips: Callable[[Slices], bool] = lambda at: False,
    ) -> Blended:
        """Run what there is time for; see ``sliding_window.run_windows`` for the arguments."""
        while left := self.left(order.every()):
            if not order.may_continue():
                break
            if left[0] in self.left(order.every()):
                self._run_one(left[0], predict, skips)
        else:
            while order.every() > order.planned and (left := self.left(order.planned)) and order.may_add():
                self._run_one(left[0], predict, skips)
        return self.finish(order.every())

    def _run_one(
        self, number: int, predict: Callable[[Slices], Prediction], skips: Callable[[Slices], bool]
    ) -> None:
        at = self.at(number)
        rows = self.presence[:, at[1 + self._axis]]
        if skips(at):
            self._probability[number] = None
            self.skipped += 1
            return
        probability, present, edges = predict(at)
        self._probability[number] = pack_planes(probability, self._axis)
        if edges is not None:
            self._edges[number] = pack_planes(edges, self._axis)
        rows[...] = 1.0 if present is None else present
        self.ran += 1

    def finish(self, every: int) -> Blended:
        """The whole view: what lies between two runs is interpolated, where they are next to each other among
        those that ``every`` gives; the rest is 0, and counts as dropped.
        """
        known = sorted(self._probability)
        gaps = {
            number: (low, high)
            for low, high in zip(known, known[1:], strict=False)
            for number in range(low + 1, high)
            if high - low <= every
        }
        dropped = len(self.corners) - len(known) - len(gaps)
        for number, (low, high) in gaps.items():
            for slice_, share in self._shares(number, low, high):
                a, b = self.presence[:, self._last(low)], self.presence[:, self._first(high)]
                self.presence[:, slice_] = (1 - share) * np.nan_to_num(a) + share * np.nan_to_num(b)
        edges = self._joined(self._edges, gaps) if self._edges else None
        probability = self._joined(self._probability, gaps)
        presence = np.nan_to_num(self.presence, nan=1.0)
        return Blended(probability, presence, self.ran, self.skipped, edges, dropped, interpolated=len(gaps))

    def _first(self, number: int) -> int:
        return self.at(number)[1 + self._axis].start

    def _last(self, number: int) -> int:
        return self.at(number)[1 + self._axis].stop - 1

    def _shares(self, number: int, low: int, high: int) -> list[tuple[int, float]]:
        """Slices of a run that was not run, each with the share of the run behind it."""
        before, behind = self._last(low), self._first(high)
        numbers = range(self._first(number), self._last(number) + 1)
        return [(n, (n - before) / (behind - before)) for n in numbers]

    def _joined(
        self, runs: dict[int, list[Packed] | None] | dict[int, list[Packed]], gaps: dict[int, tuple[int, int]]
    ) -> PackedProbability:
        whole = PackedProbability(self.classes, self._plane, self._axis)
        for number in range(len(self.corners)):
            planes = self._last(number) - self._first(number) + 1
            packed = runs.get(number)
            if packed is None and number in gaps:
                packed = pack_planes(self._between(runs, number, *gaps[number]))
            if packed is None:
                packed = pack_planes(np.zeros((1, planes, *self._plane), np.float32)) * self.classes
            whole.append_packed(packed, planes)
        return whole

    def _between(
        self, runs: dict[int, list[Packed] | None] | dict[int, list[Packed]], number: int, low: int, high: int
    ) -> np.ndarray:
        """(N, planes, a, b) of a run that was not run."""
        ends = []
        for beside, place in ((low, -1), (high, 0)):
            packed = runs.get(beside)
            zeros = np.zeros((self.classes, *self._plane), np.float32)
            ends.append(zeros if packed is None else unpack_planes(packed, self._plane)[:, place])
        shares = [np.float32(share) for _, share in self._shares(number, low, high)]
        return np.stack([(1 - share) * ends[0] + share * ends[1] for share in shares], 1)
