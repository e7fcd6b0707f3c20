"""Shape and spacing of a volume as people store them: axes of one voxel, lengths in many notations."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from vesal.inference.data.errors import EmptyVolumeError, SpacingError, VolumeShapeError, shown

WANTED = "three positive lengths in mm, (x,y,z), are wanted. Save spacing=numpy.array([x, y, z])."
LENGTH = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
MAX_TEXT = 200
"""Characters of a spacing that is text."""


def volume_shape(name: str, shape: Sequence[int]) -> tuple[tuple[int, int, int], str | None]:
    """The shape (D,H,W) of an array without further axes of length 1, and a note where it had some.

    Raises:
        VolumeShapeError: there are not three axes.
        EmptyVolumeError: an axis has length 0.
    """
    sides = list(shape)
    if 0 in sides:
        raise EmptyVolumeError(
            f"{name}: 'imgs' has shape {tuple(shape)}, so no voxel; every axis must be 1 or longer."
        )
    while len(sides) > 3 and 1 in sides:
        # The first or the last one is a channel; where neither is, the others keep their order all the same.
        sides.pop(0 if sides[0] == 1 else len(sides) - 1 - sides[::-1].index(1))
    if len(sides) != 3:
        raise VolumeShapeError(
            f"{name}: 'imgs' has {len(shape)} axes, shape {tuple(shape)}; three, (D,H,W), are wanted. "
            "Save one grey volume per file, without channel or time axis."
        )
    d, h, w = sides
    if len(shape) == 3:
        return (d, h, w), None
    return (d, h, w), f"imgs has shape {tuple(shape)}: read as {(d, h, w)}, axes of length 1 left out"


def spacing_xyz(values: Any, source: str) -> tuple[tuple[float, float, float], str | None]:
    """Lengths along (x,y,z) in mm, and a note where they came in another notation than three lengths.

    One number counts for all axes; rows, text, a dict of x, y and z or of d, h and w, and an affine that
    turns no axis are read; of negative lengths, as a header's direction gives them, the size counts; a
    fourth number, as of time, is left out.

    Args:
        values: lists, dicts, text and numbers.
        source: for messages.

    Raises:
        SpacingError: these are no three lengths.
    """
    lengths = _lengths(values)
    if lengths is None or len(lengths) not in (1, 3, 4):
        raise SpacingError(f"{source} is {shown(values)}; {WANTED}")
    taken = lengths * 3 if len(lengths) == 1 else lengths[:3]
    if not all(math.isfinite(length) and length != 0 for length in taken):
        raise SpacingError(f"{source} is ({', '.join(f'{length:g}' for length in taken)}); {WANTED}")
    x, y, z = (abs(length) for length in taken)
    if isinstance(values, (list, tuple)) and list(values) == [x, y, z]:
        return (x, y, z), None
    return (x, y, z), f"spacing came as {shown(values)}: taken as ({x:g}, {y:g}, {z:g}) mm along (x,y,z)"


def _lengths(values: Any) -> list[float] | None:
    """The numbers of a spacing in their order; None where these are no numbers."""
    if isinstance(values, bool) or values is None:
        return None
    if isinstance(values, (int, float)):
        return [float(values)] if abs(values) < 1e300 or values != values else None
    if isinstance(values, str):
        return _written(values)
    if isinstance(values, Mapping):
        named = {str(key).strip().lower(): value for key, value in values.items()}
        axes = next((axes for axes in ("xyz", "whd") if set(named) == set(axes)), None)
        return _lengths([named[axis] for axis in axes]) if axes else None
    if not isinstance(values, (list, tuple)) or len(values) > MAX_TEXT:
        return None
    if len(values) == 1:
        return _lengths(values[0])
    if len(values) in (3, 4) and all(isinstance(row, (list, tuple)) and len(row) > 1 for row in values):
        return _diagonal(values)
    if any(isinstance(value, (list, tuple)) and len(value) != 1 for value in values):
        return None
    found = [_lengths(value) for value in values]
    return None if any(part is None or len(part) != 1 for part in found) else [p[0] for p in found if p]


def _diagonal(rows: Sequence[Sequence[Any]]) -> list[float] | None:
    """The lengths of an affine of 3x3, or of 4x4 with a position; None where it turns axes."""
    if any(len(row) != len(rows) for row in rows):
        return None
    numbers = [_lengths(list(row)) for row in rows]
    if any(row is None or len(row) != len(rows) for row in numbers):
        return None
    affine = [row for row in numbers if row]
    if len(rows) == 4 and affine[3] != [0.0, 0.0, 0.0, 1.0]:
        return None
    if any(affine[i][j] != 0 for i in range(3) for j in range(3) if i != j):
        return None
    return [affine[i][i] for i in range(3)]


def _written(text: str) -> list[float] | None:
    """The numbers of a text such as `0.8`, `(0.8, 0.8, 3.0) mm`, `0.8x0.8x3`, `0.8mm x 0.8mm x 3mm`.

    A comma is a decimal one where it stands within each of the parts and these are parted in another way.
    """
    if len(text) > MAX_TEXT:
        return None
    plain = re.sub(r"(?<=[\d.])\s*mm(?![a-wyz])", "", text.strip().lower())
    plain = plain.strip().removesuffix("mm").strip().strip("()[]").strip()
    if re.fullmatch(r"[-+]?\d+,\d+(?:(?:\s+|\s*[;x×]\s*)[-+]?\d+,\d+){2}", plain):
        plain = plain.replace(",", ".")
    if not re.fullmatch(rf"{LENGTH}(?:\s*[\s,;x×]\s*{LENGTH})*", plain):
        return None
    return [float(number) for number in re.findall(LENGTH, plain)]
