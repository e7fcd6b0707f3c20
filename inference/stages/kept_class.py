"""One class of a result, for whoever asks for it after the case: read when it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from vesal.inference.geometry.tilings import without_padding
from vesal.inference.geometry.views import View
from vesal.inference.stages.packed_probability import Probabilities


@dataclass(frozen=True, eq=False)
class KeptClass:
    """(d, h, w) float32, which stay packed if they are: ``np.asarray`` gives them."""

    read: Callable[[], np.ndarray]

    @classmethod
    def of(cls, values: Probabilities, row: int, view: View) -> KeptClass:
        """A row of (N, d, h, w) on a view, without what its sampling appended."""
        return cls(partial(_row, values, row, view))

    @property
    def shape(self) -> tuple[int, ...]:
        """(d, h, w)."""
        return self.read().shape

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        """For numpy's functions."""
        return np.asarray(self.read(), dtype)


def _row(values: Probabilities, row: int, view: View) -> np.ndarray:
    return without_padding(values[row], view)[0]
