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

AxisCodes = tuple[str, str, str]
"""For each axis the direction in the patient in which its index grows, of R L A P S I."""
CANONICAL: AxisCodes = ("S", "P", "L")
"""How a volume lies for the engine where its file says how it lies: slices from the feet up, rows from front
to back, columns from the patient's right to the left, as an axial DICOM series of a patient on his back. The
default weights' targets that know one way only were trained so (head and neck in CT, `training/sets.json`);
those of trunk and heart were trained mirrored along each axis as well."""
OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "S": "I", "I": "S"}


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

    def turn_codes(self, codes: AxisCodes) -> AxisCodes:
        """Axis codes of a stored volume, turned: those of reversed axes become the opposite."""
        turned = self.axes(codes)
        d, h, w = (OPPOSITE[code] if axis in self.reversed else code for axis, code in enumerate(turned))
        return d, h, w

    def turn(self, volume: np.ndarray) -> np.ndarray:
        """(D, H, W) as stored, turned; a view."""
        return np.flip(volume.transpose(self.order), self.reversed)

    def then(self, other: Orientation) -> Orientation:
        """This way to turn a volume, and then the other one, as one."""
        d, h, w = (self.order[axis] for axis in other.order)
        reversed_ = tuple(
            i for i, axis in enumerate(other.order) if (axis in self.reversed) != (i in other.reversed)
        )
        return Orientation((d, h, w), reversed_)

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
        codes = None if case.axis_codes is None else self.turn_codes(case.axis_codes)
        spacing = self.axes(case.spacing_dhw_mm)
        numbers = None if case.numbers is None else np.ascontiguousarray(self.turn(case.numbers))
        return replace(
            case, image=image, numbers=numbers, spacing_dhw_mm=spacing, user=user, axis_codes=codes
        )

    def __str__(self) -> str:
        """In words: axes in the order W, H, D, and D reversed."""
        parts = []
        if self.order != STORED.order:
            parts.append(f"axes in the order {', '.join(AXES[axis] for axis in self.order)}")
        if self.reversed:
            parts.append(f"{' and '.join(AXES[axis] for axis in self.reversed)} reversed")
        return ", then ".join(parts) or "as it is stored"


STORED = Orientation()


def towards(codes: AxisCodes, wanted: AxisCodes = CANONICAL) -> Orientation:
    """The way to turn a volume with these axis codes so that it has the wanted ones.

    Both name each of the three lines through the patient (R-L, A-P, S-I) once.
    """
    lines = [{code, OPPOSITE[code]} for code in codes]
    d, h, w = (next(axis for axis in range(3) if code in lines[axis]) for code in wanted)
    order = (d, h, w)
    return Orientation(order, tuple(i for i in range(3) if codes[order[i]] != wanted[i]))
