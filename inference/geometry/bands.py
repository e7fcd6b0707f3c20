"""Weights of resampling along one axis: a few neighbouring inputs for each output.

As a matrix (outputs, inputs) they would take memory with the square of a long axis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

BLOCK_ROWS = 8
"""Outputs of one matrix product. They need few of the inputs; a product of all of them would multiply by
zeros for the most part."""
BLOCK_SPAN = 1 << 12
"""Inputs of a block beyond which it has fewer outputs: its weights stay below 256 kB."""


@dataclass(frozen=True)
class Block:
    """Some outputs, the inputs that they need, and the weights between the two."""

    rows: slice
    span: slice
    weights: np.ndarray
    """(rows, span)"""


@dataclass(frozen=True, eq=False)
class Band:
    """out[k] = sum over t of weights[k, t] * in[first[k] + t]; ``first`` never falls."""

    n_in: int
    first: np.ndarray
    """(n_out,) int64"""
    weights: np.ndarray
    """(n_out, taps) float64, a row sums to 1, or to 0 without input; some are below 0 in bicubic ones"""

    @property
    def used(self) -> slice:
        """The inputs that carry weight."""
        rows = np.flatnonzero(self.weights.any(1))
        if not rows.size:
            return slice(0, 0)
        return slice(int(self.first[rows[0]]), int(self.first[rows[-1]]) + self.weights.shape[1])

    def cut(self) -> Band:
        """The same over its ``used`` inputs alone."""
        used = self.used
        first = np.clip(self.first - used.start, 0, max(0, used.stop - used.start - self.weights.shape[1]))
        return Band(used.stop - used.start, first, self.weights)

    def placed(self, n_in: int, first: int, n_out: int) -> Band:
        """The same from input ``first`` of ``n_in`` on, and zeros for what is missing of ``n_out``."""
        missing = n_out - len(self.first)
        weights = np.pad(self.weights, ((0, missing), (0, 0)))
        return Band(n_in, np.pad(self.first, (0, missing), "edge") + first, weights)

    def fixed(self, bits: int) -> Band:
        """Weights as multiples of 2^-bits; the largest of each row takes what is missing to the sum."""
        whole = np.rint(self.weights * 2.0**bits)
        missing = np.rint(self.weights.sum(1) * 2.0**bits) - whole.sum(1)
        whole[np.arange(len(whole)), self.weights.argmax(1)] += missing
        return replace(self, weights=whole * 2.0**-bits)

    def blocks(self, dtype: np.dtype) -> tuple[Block, ...]:
        """All outputs in order, few at a time; their weights as float of ``dtype``."""
        taps, at, found = self.weights.shape[1], 0, []
        while at < len(self.first):
            low = int(self.first[at])
            fitting = np.searchsorted(self.first, low + max(1, BLOCK_SPAN - taps), "right")
            stop = min(at + BLOCK_ROWS, max(at + 1, int(fitting)), len(self.first))
            weights = np.zeros((stop - at, int(self.first[stop - 1]) + taps - low), dtype)
            columns = self.first[at:stop, None] - low + np.arange(taps)
            weights[np.arange(stop - at)[:, None], columns] = self.weights[at:stop]
            found.append(Block(slice(at, stop), slice(low, low + weights.shape[1]), weights))
            at = stop
        return tuple(found)

    def dense(self) -> np.ndarray:
        """(n_out, n_in) float32."""
        found = np.zeros((len(self.first), self.n_in), np.float32)
        rows = np.arange(len(self.first))[:, None]
        np.add.at(found, (rows, self.first[:, None] + np.arange(self.weights.shape[1])), self.weights)
        return found


def two_taps(low: np.ndarray, share: np.ndarray, n_in: int) -> Band:
    """Between neighbours: (n_out,) int64 ``low`` has the weight 1 - ``share``, the next input ``share``."""
    taps = min(2, n_in)
    first = np.minimum(low, n_in - taps)
    at_last = first < low
    weights = np.zeros((len(low), taps))
    weights[:, 0] = np.where(at_last, 0, 1 - share)
    weights[:, -1] += np.where(at_last, 1, share) if taps == 2 else share
    return Band(n_in, first, weights)


@lru_cache(maxsize=12)
def fixed_blocks(band: Band, bits: int, dtype: np.dtype) -> tuple[Block, ...]:
    """Blocks of the ``used`` inputs, weights as multiples of 2^-bits; kept, as classes share views."""
    return band.cut().fixed(bits).blocks(dtype)
