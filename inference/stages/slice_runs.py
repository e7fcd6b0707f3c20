"""Runs of slices over a view that share no voxel: in any order, and where time runs short only some of them.

What lies between two runs is then interpolated between the slices beside it. Each run is packed when it is
done (see ``stages.packed_probability``), so that memory does not grow with the view.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vesal.inference.families.contract import Decoded, Enlarge
from vesal.inference.geometry.views import View
from vesal.inference.stages.coarse_planes import CoarsePlanes
from vesal.inference.stages.packed_probability import Packed, PackedProbability, pack_planes, unpack_planes
from vesal.inference.stages.sliding_window import Blended, Corner, Slices

Run = list[Packed] | None
"""Planes of one run, class by class; None where it was skipped."""


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
    _probability: dict[int, Run] = field(default_factory=dict)
    _edges: dict[int, Run] = field(default_factory=dict)
    _enlarge: Enlarge | None = None
    _grid: tuple[int, int] | None = None
    """of the planes that are predicted; None as long as nothing is"""

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
        predict: Callable[[Slices], Decoded],
        order: RunOrder,
        skips: Callable[[Slices], bool] = lambda at: False,
    ) -> Blended:
        """Run what there is time for.

        Args:
            predict: runs the window that lies there in the view; thick axis first.
            order: which.
            skips: whether a window need not be run.
        """
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
        self, number: int, predict: Callable[[Slices], Decoded], skips: Callable[[Slices], bool]
    ) -> None:
        at = self.at(number)
        if skips(at):
            self._probability[number] = None
            self.skipped += 1
            return
        found = predict(at)
        self._enlarge = found.enlarge
        self._grid = found.probability.shape[2], found.probability.shape[3]
        self._probability[number] = pack_planes(found.probability)
        if found.edges is not None:
            self._edges[number] = pack_planes(found.edges)
        self.presence[:, at[1 + self._axis]] = 1.0 if found.presence is None else found.presence
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
        for number, (low, high) in gaps.items():
            for slice_, share in self._shares(number, low, high):
                a, b = self.presence[:, self._last(low)], self.presence[:, self._first(high)]
                self.presence[:, slice_] = (1 - share) * a + share * b
        return Blended(
            self._joined(self._probability, gaps),
            np.nan_to_num(self.presence, nan=1.0),
            self.ran,
            self.skipped,
            self._joined(self._edges, gaps) if self._edges else None,
            len(self.corners) - len(known) - len(gaps),
            interpolated=len(gaps),
        )

    def _first(self, number: int) -> int:
        return self.at(number)[1 + self._axis].start

    def _last(self, number: int) -> int:
        return self.at(number)[1 + self._axis].stop - 1

    def _shares(self, number: int, low: int, high: int) -> list[tuple[int, float]]:
        """Slices of a run that was not run, each with the share of the run behind it."""
        before, behind = self._last(low), self._first(high)
        numbers = range(self._first(number), self._last(number) + 1)
        return [(n, (n - before) / (behind - before)) for n in numbers]

    def _joined(self, runs: Mapping[int, Run], gaps: Mapping[int, tuple[int, int]]) -> PackedProbability:
        """All runs in their order; 0 where nothing is known."""
        whole = PackedProbability(self.classes, self._grid or self._plane, self._axis)
        keep = np.zeros((self.classes, self._length), bool)
        for number in range(len(self.corners)):
            slices = slice(self._first(number), self._last(number) + 1)
            packed = runs.get(number)
            if packed is None and number in gaps:
                packed = self._between(runs, number, *gaps[number])
            keep[:, slices] = packed is not None
            planes = slices.stop - slices.start
            if packed is None:
                zeros = np.zeros((1, planes, *(self._grid or self._plane)), np.float32)
                packed = pack_planes(zeros) * self.classes
            whole.append_packed(packed, planes)
        return whole if self._enlarge is None else CoarsePlanes(whole, self._plane, self._enlarge, keep)

    def _between(self, runs: Mapping[int, Run], number: int, low: int, high: int) -> Run:
        """A run that was not run; None beside one that was skipped, as there is nothing to see."""
        before, behind = runs.get(low), runs.get(high)
        if before is None or behind is None:
            return None
        assert self._grid is not None
        a, b = unpack_planes(before, self._grid)[:, -1], unpack_planes(behind, self._grid)[:, 0]
        shares = [np.float32(share) for _, share in self._shares(number, low, high)]
        return pack_planes(np.stack([(1 - share) * a + share * b for share in shares], 1))
