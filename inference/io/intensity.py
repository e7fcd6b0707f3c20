"""Intensities: whatever numbers a volume holds, the engine sees uint8, prepared as in the challenge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vesal.inference.data.errors import IntensityError
from vesal.inference.data.notes import Caution
from vesal.inference.io.hounsfield import SOFT_TISSUE, Window, hounsfield_offset, sampling_step

if TYPE_CHECKING:
    from vesal.inference.io.volume_numbers import VolumeNumbers

# The challenge's own preparation of everything but CT clips at these percentiles of the voxels that are not
# 0.
LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5
# A smaller share of padding lies below the low percentile anyway.
PADDING_SHARE = LOW_PERCENT / 100
# Of a volume that was prepared and then divided by 255, in grey values.
ROUNDING = 1e-3


def check_dtype(name: str, dtype: np.dtype) -> None:
    """Raise IntensityError for volumes that are not real numbers (complex, text, objects, dates)."""
    if dtype.hasobject:
        raise IntensityError(
            f"{name}: 'imgs' is an array of Python objects, which is not unpickled; numbers are wanted, "
            "best uint8. "
            "Save it with imgs.astype(numpy.uint8)."
        )
    if dtype.kind not in "buif":
        raise IntensityError(
            f"{name}: 'imgs' has dtype {dtype}; real numbers are wanted, best uint8 from 0 to 255. "
            "Convert it before saving."
        )


def prepare(
    name: str, image: np.ndarray, *, may_be_ct: bool = True, is_ct: bool = False, window: Window = SOFT_TISSUE
) -> tuple[np.ndarray, tuple[str, ...], bool]:
    """The volume (D,H,W) as uint8 0..255, notes for the report, and whether it holds Hounsfield units.

    Hounsfield units are shown in a `window`; all else is rescaled as by `to_uint8`.

    Args:
        name: for messages.
        image: real numbers of any type.
        may_be_ct: False where something says that the volume is no CT.
        is_ct: something says that it is one, so fewer numbers have to speak for it.
        window: of CT.

    Raises:
        IntensityError: no voxel is finite.
    """
    if image.dtype == np.uint8:
        return image, (), False
    numbers, notes = _finite(name, image)
    offset = hounsfield_offset(numbers.sampled(sampling_step(image.size)), is_ct) if may_be_ct else None
    if offset is None:
        padding = _without_padding(numbers)
        grey, note = _rescaled(numbers)
        return grey, (*notes, *padding, note), False
    bottom, top = window.ends
    shown = f"numbers came as {image.dtype} in Hounsfield units" + (f" plus {offset}" if offset else "")
    note = f"{shown}: shown in the {window.name} window, {bottom:g} to {top:g} HU, as the challenge does"
    return _stretch(numbers, bottom + offset, top + offset), (*notes, note), True


def to_uint8(name: str, image: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Return the volume (D,H,W) as uint8 0..255, and a note when it was not uint8 already.

    Volumes of another type are clipped at the 0.5 and 99.5 percentiles of their nonzero voxels, stretched to
    0..255 and cut to whole numbers (as the challenge prepares its cases). Whole numbers that span exactly 0
    to 255, or these divided by 255, were prepared already and merely stored in a wider type: they are kept as
    they are. When the percentiles coincide (a binary mask) minimum and maximum take their place; a constant
    volume becomes 0. NaN, infinities and padding are background. Raises IntensityError: no voxel is finite.
    """
    if image.dtype == np.uint8:
        return image, None
    numbers, notes = _finite(name, image)
    padding = _without_padding(numbers)
    grey, note = _rescaled(numbers)
    return grey, "; ".join((*notes, *padding, note))


def _rescaled(numbers: VolumeNumbers) -> tuple[np.ndarray, str]:
    """The same of numbers that are all measured."""
    low, high, came = numbers.facts.low, numbers.facts.high, f"numbers came as {numbers.dtype}"
    if (low, high) == (0.0, 255.0) and numbers.facts.whole:
        return numbers.to_uint8(
            lambda values: values
        ), f"{came} with whole numbers from 0 to 255: kept as they are"
    if (low, high) == (0.0, 1.0) and _is_prepared_share(numbers):
        return numbers.to_uint8(
            lambda v: np.rint(v * 255.0)
        ), f"{came} from 0 to 1 in steps of 1/255: times 255"
    if low == high:
        return np.zeros(numbers.image.shape, np.uint8), f"{came} and is constant ({low:g}): set to 0"
    how = f"the {LOW_PERCENT} and {HIGH_PERCENT} percentiles of the nonzero voxels"
    bottom, top = numbers.nonzero_percentiles((LOW_PERCENT, HIGH_PERCENT))
    if bottom == top:
        bottom, top, how = low, high, "its minimum and maximum, as nearly all nonzero voxels are equal"
    note = f"{came} from {low:g} to {high:g}: rescaled to 0..255 from {bottom:g}..{top:g}, {how}"
    return _stretch(numbers, bottom, top), note


def _finite(name: str, image: np.ndarray) -> tuple[VolumeNumbers, tuple[str, ...]]:
    """The numbers of (D,H,W), NaN and infinities as the smallest finite one; and notes."""
    from vesal.inference.io.volume_numbers import VolumeNumbers  # most volumes are uint8 and need none of it

    numbers = VolumeNumbers(image)
    nan, infinite = numbers.facts.nan, numbers.facts.infinite
    if nan + infinite == image.size:
        raise IntensityError(
            f"{name}: 'imgs' has {nan} NaN and {infinite} infinite of {image.size} voxels, so no finite "
            "number; save the volume again."
        )
    if not nan + infinite:
        return numbers, ()
    numbers.set_floor(numbers.facts.low)
    return numbers, (
        Caution(f"the volume holds {nan + infinite} voxels that are NaN or infinite: taken as background"),
    )


def _without_padding(numbers: VolumeNumbers) -> tuple[str, ...]:
    """Let padding count as the smallest measured value, and return notes.

    It is the smallest value, where it is negative, frequent, and further from all others than these are from
    each other. Not for Hounsfield units, where this may be air.
    """
    low, high = numbers.facts.low, numbers.facts.high
    if numbers.dtype.kind not in "if" or low >= 0:
        return ()
    found = numbers.each(lambda v: (np.count_nonzero(v == low), v.min(where=v != low, initial=high)))
    count, least = sum(int(n) for n, _ in found), float(min(value for _, value in found))
    if count < PADDING_SHARE * numbers.size or count == numbers.size:
        return ()
    if least / 2 - low / 2 <= high / 2 - least / 2:
        return ()
    numbers.set_floor(least)
    return (f"the volume holds {count} voxels of {low:g}, far from all others: taken as background",)


def _is_prepared_share(numbers: VolumeNumbers) -> bool:
    """Whether floats are grey values divided by 255, more than two."""
    if numbers.dtype.kind != "f":
        return False
    off = max(ROUNDING, 255 * float(np.finfo(numbers.dtype).eps))  # more in half precision
    near = numbers.each(lambda v: bool(np.all(abs(v * 255.0 - np.rint(v * 255.0)) < off)))
    return all(near) and any(numbers.each(lambda v: bool(np.any((v > 0) & (v < 1)))))


def _stretch(numbers: VolumeNumbers, bottom: float, top: float) -> np.ndarray:
    """(D,H,W) uint8: `bottom` to 0, `top` to 255, clipped beyond, fractions cut off."""

    def stretched(values: np.ndarray) -> np.ndarray:
        # Each factor is halved so that the range of the widest float64 volume does not overflow.
        return (np.clip(values, bottom, top) / 2 - bottom / 2) / (top / 2 - bottom / 2) * 255.0

    return numbers.to_uint8(stretched)
