"""The numbers of a volume of any type, some at a time: what is asked of them takes no copy of the volume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from vesal.inference.io.order_statistics import Count, order_statistics
from vesal.inference.runtime.threads import in_parallel, in_slabs

T = TypeVar("T")

SLAB_VOXELS = 1 << 17
"""Voxels that are float64 at a time, for each thread: 1 MB."""
MAX_BINS = 1 << 17
"""Most different whole numbers that are counted one by one: all of 16 bits are."""


@dataclass(frozen=True)
class Facts:
    """What one look at all voxels tells."""

    nan: int
    infinite: int
    low: float
    high: float
    """Of the finite voxels; infinite where there is none."""
    whole: bool
    """Whether they hold whole numbers only."""


class VolumeNumbers:
    """Real numbers (D,H,W); those that are no measurement are replaced by the smallest that is one."""

    def __init__(self, image: np.ndarray) -> None:
        """``image`` is held, not copied, where it is contiguous in any order of its axes."""
        self.image, self.dtype, self.size = image, image.dtype, image.size
        self._flat = image.ravel(order="K")
        self.floor = -np.inf
        """Values below it, NaN and infinities count as it."""
        self.facts = self._look()

    def each(self, work: Callable[[np.ndarray], T]) -> list[T]:
        """``work`` on all voxels, (n,) float64 at a time, in threads; they may be changed."""
        return in_parallel(lambda part: work(self._part(part)), in_slabs(self.size, SLAB_VOXELS))

    def set_floor(self, floor: float) -> None:
        """Count smaller values, NaN and infinities as ``floor``."""
        self.floor = floor
        self.facts = self._look()

    def sampled(self, step: int) -> np.ndarray:
        """(d,h,w) float64, every ``step``-th voxel along each axis."""
        return self._cleaned(self.image[::step, ::step, ::step].astype(np.float64))

    def to_uint8(self, work: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """(D,H,W) uint8 of what ``work`` makes of (n,) float64: 0 to 255, whose fractions are cut off."""
        grey = np.empty_like(self.image, np.uint8)  # in the same order of axes
        flat = grey.ravel(order="K")

        def fill(part: slice) -> None:
            flat[part] = work(self._part(part))

        in_parallel(fill, in_slabs(self.size, SLAB_VOXELS))
        return np.ascontiguousarray(grey)

    def nonzero_percentiles(self, percents: tuple[float, ...]) -> list[float]:
        """Percentiles of the voxels that are not 0, linear between neighbours as numpy's; of none, 0."""
        count = sum(self.each(np.count_nonzero))
        if not count:
            return [0.0] * len(percents)
        at = [(count - 1) * (percent / 100) for percent in percents]
        ranks = sorted({rank for place in at for rank in (int(place), min(int(place) + 1, count - 1))})
        known = dict(zip(ranks, self._order_statistics(ranks), strict=True))
        found = []
        for place in at:
            low, high = known[int(place)], known[min(int(place) + 1, count - 1)]
            share = place - int(place)
            # As numpy has it, to the last bit.
            near_low, near_high = low + (high - low) * share, high - (high - low) * (1 - share)
            found.append(float(near_low if share < 0.5 else near_high))
        return found

    def _order_statistics(self, ranks: list[int]) -> list[float]:
        """The values that are not 0 at places of their order, from 0 on."""
        if not (self.facts.whole and self.facts.high - self.facts.low < MAX_BINS):
            return order_statistics(self._nonzero, ranks)
        low, bins = self.facts.low, int(self.facts.high - self.facts.low) + 1
        counts = np.zeros(bins, np.int64)
        for part in in_slabs(self.size, SLAB_VOXELS):  # one after the other: counting lets no thread run
            counts += np.bincount((self._part(part) - low).astype(np.intp), minlength=bins)
        if low <= 0 <= self.facts.high:
            counts[int(-low)] = 0
        return [float(low + at) for at in np.searchsorted(np.cumsum(counts), ranks, "right")]

    def _nonzero(self, count: Count) -> None:
        self.each(lambda values: count(values[values != 0]))

    def _part(self, part: slice) -> np.ndarray:
        return self._cleaned(self._flat[part].astype(np.float64))

    def _cleaned(self, values: np.ndarray) -> np.ndarray:
        if self.floor > -np.inf:
            values[~np.isfinite(values)] = self.floor
            np.maximum(values, self.floor, out=values)
        return values

    def _look(self) -> Facts:
        is_float = self.dtype.kind == "f"

        def look(values: np.ndarray) -> Facts:
            finite = np.isfinite(values)
            nan = int(np.count_nonzero(np.isnan(values))) if is_float else 0
            infinite = len(values) - int(np.count_nonzero(finite)) - nan
            low = float(values.min(where=finite, initial=np.inf))
            high = float(values.max(where=finite, initial=-np.inf))
            return Facts(nan, infinite, low, high, not is_float or bool(np.all(values == np.floor(values))))

        parts = self.each(look)
        return Facts(
            sum(p.nan for p in parts),
            sum(p.infinite for p in parts),
            min(p.low for p in parts),
            max(p.high for p in parts),
            all(p.whole for p in parts),
        )


def finite_numbers(numbers: np.ndarray) -> np.ndarray:
    """Real numbers (D,H,W) as they are; where some are not finite, a copy that has the smallest finite one
    there, 0 where there is none.
    """
    if numbers.dtype.kind != "f":
        return numbers
    finite = np.isfinite(numbers)
    if finite.all():
        return numbers
    low = numbers.min(where=finite, initial=np.inf)
    return np.where(finite, numbers, low if np.isfinite(low) else 0).astype(numbers.dtype, copy=False)
