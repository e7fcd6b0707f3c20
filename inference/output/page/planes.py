"""The three planes of a volume as radiologists look at them: from the feet, from the front, from the left.

In axial and coronal pictures the patient's right is on the left, in sagittal ones his front is; front and
head are at the top.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vesal.inference.data.orientation import AXES, CANONICAL, OPPOSITE, AxisCodes

CONVENTION = {"axial": ("A", "R"), "coronal": ("S", "R"), "sagittal": ("S", "A")}
"""What is at the top and at the left of a picture."""


@dataclass(frozen=True)
class Plane:
    """One of the planes: which axes make its rows and columns, and which of them are reversed."""

    name: str
    """axial, coronal or sagittal; where the volume does not say how it lies, its axis: D, H or W."""
    axis: int
    """Axis of the volume that the plane's slices follow each other on."""
    rows: int
    columns: int
    flip_rows: bool
    flip_columns: bool
    letters: tuple[str, str, str, str] | None
    """Directions in the patient at the left, right, top and bottom; None where they are not known."""
    towards: str | None
    """Direction in which slices are counted; None where it is not known."""

    def cut(self, volume: np.ndarray, index: int) -> np.ndarray:
        """One slice of a (D, H, W) volume as the picture has it, (rows, columns); a view."""
        picture = np.take(volume, index, self.axis)
        if self.rows > self.columns:
            picture = picture.T
        return picture[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def size_mm(self, shape: tuple[int, ...], spacing: tuple[float, ...]) -> tuple[float, float]:
        """Height and width of the picture."""
        return shape[self.rows] * spacing[self.rows], shape[self.columns] * spacing[self.columns]


def planes_of(codes: AxisCodes | None) -> tuple[Plane, ...]:
    """The three planes of a volume with these axis codes.

    Without codes it is drawn as one that lies as ``CANONICAL``, without letters.
    """
    return tuple(_plane(name, codes) for name in CONVENTION)


def _plane(name: str, codes: AxisCodes | None) -> Plane:
    lie = codes or CANONICAL
    top, left = CONVENTION[name]
    rows, columns = _axis_of(lie, top), _axis_of(lie, left)
    axis = 3 - rows - columns
    return Plane(
        name=name if codes else AXES[axis],
        axis=axis,
        rows=rows,
        columns=columns,
        flip_rows=lie[rows] == top,
        flip_columns=lie[columns] == left,
        letters=(left, OPPOSITE[left], top, OPPOSITE[top]) if codes else None,
        towards=codes[axis] if codes else None,
    )


def _axis_of(codes: AxisCodes, direction: str) -> int:
    return next(axis for axis, code in enumerate(codes) if direction in (code, OPPOSITE[code]))
