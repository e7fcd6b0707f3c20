"""How a volume lies in its array: the order of its axes, and which of them are reversed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from vesal.inference.data.case import Case

AXES = "DHW"
"""Names of the axes of a volume."""
T = TypeVar("T")


@dataclass(frozen=True)
class Orientation:
    """A way to turn a stored volume: its axes in another order, then some of these reversed."""

    order: tuple[int, int, int] = (0, 1, 2)
    """Axis i of the turned volume is axis ``order[i]`` of the stored one."""
    reversed: tuple[int, ...] = ()
    """Axes of the turned volume, ascending."""

    @property
    def is_stored(self) -> bool:
        """Whether nothing is turned."""
        return self == STORED

    def axes(self, values: Sequence[T]) -> tuple[T, T, T]:
        """Values of the stored axes (shape, spacing) in the order of the turned ones."""
        d, h, w = (values[axis] for axis in self.order)
        return d, h, w

    def turn(self, volume: np.ndarray) -> np.ndarray:
        """(D, H, W) as stored, turned; a view."""
        return np.flip(volume.transpose(self.order), self.reversed)

    def back(self, volume: np.ndarray) -> np.ndarray:
        """(D, H, W) turned, as it is stored: the same array for none, else C-contiguous."""
        if self.is_stored:
            return volume
        return np.ascontiguousarray(np.flip(volume, self.reversed).transpose(np.argsort(self.order)))

    def turn_case(self, case: Case) -> Case:
        """The case turned, the user's mask, boxes and points with it."""
        if self.is_stored:
            return case
        image = np.ascontiguousarray(self.turn(case.image))
        user = case.user.transposed(self.order).reversed(image.shape, self.reversed)
        return replace(case, image=image, spacing_dhw_mm=self.axes(case.spacing_dhw_mm), user=user)

    def __str__(self) -> str:
        """In words: axes in the order W, H, D, and D reversed."""
        parts = []
        if self.order != STORED.order:
            parts.append(f"axes in the order {', '.join(AXES[axis] for axis in self.order)}")
        if self.reversed:
            parts.append(f"{' and '.join(AXES[axis] for axis in self.reversed)} reversed")
        return ", then ".join(parts) or "as it is stored"


STORED = Orientation()
