"""Intensities: whatever numbers a volume holds, the engine sees uint8, prepared as in the challenge."""

import numpy as np

from vesal.inference.data.errors import IntensityError

# The challenge's own preparation of everything but CT clips at these percentiles of the voxels that are not
# 0.
LOW_PERCENT, HIGH_PERCENT = 0.5, 99.5


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


def to_uint8(name: str, image: np.ndarray) -> tuple[np.ndarray, str | None]:
    """Return the volume (D,H,W) as uint8 0..255, and a note when it was not uint8 already.

    Volumes of another type are clipped at the 0.5 and 99.5 percentiles of their nonzero voxels, stretched to
    0..255 and cut to whole numbers (as the challenge prepares its cases). Whole numbers that span exactly 0
    to 255 were prepared already and merely stored in a wider type: they are kept as they are. When the
    percentiles coincide (a binary mask) minimum and maximum take their place; a constant volume becomes 0.
    Raises IntensityError on NaN or infinity.
    """
    if image.dtype == np.uint8:
        return image, None
    _check_finite(name, image)
    low, high = float(image.min()), float(image.max())
    if (low, high) == (0.0, 255.0) and _all_whole(image):
        return image.astype(
            np.uint8
        ), f"imgs came as {image.dtype} with whole numbers from 0 to 255: kept as they are"
    if low == high:
        note = f"imgs came as {image.dtype} and is constant ({low:g}): set to 0"
        return np.zeros(image.shape, np.uint8), note
    how = f"the {LOW_PERCENT} and {HIGH_PERCENT} percentiles of the nonzero voxels"
    nonzero = image[image != 0].astype(np.float64)
    bottom, top = (float(v) for v in np.percentile(nonzero, (LOW_PERCENT, HIGH_PERCENT)))
    if bottom == top:
        bottom, top, how = low, high, "its minimum and maximum, as nearly all nonzero voxels are equal"
    note = f"imgs came as {image.dtype} from {low:g} to {high:g}: rescaled to 0..255 from {bottom:g}..{top:g}"
    return _stretch(image, bottom, top), f"{note}, {how}"


def _check_finite(name: str, image: np.ndarray) -> None:
    """Raise IntensityError where (D,H,W) holds NaN or infinity."""
    if image.dtype.kind != "f":
        return
    nan, infinite = int(np.isnan(image).sum()), int(np.isinf(image).sum())
    if nan or infinite:
        raise IntensityError(
            f"{name}: 'imgs' has {nan} NaN and {infinite} infinite of {image.size} voxels; finite numbers "
            "are wanted. "
            "Replace them, for example with numpy.nan_to_num."
        )


def _all_whole(image: np.ndarray) -> bool:
    """Whether (D,H,W) holds whole numbers only."""
    return image.dtype.kind != "f" or bool(np.all(image == np.floor(image)))


def _stretch(image: np.ndarray, bottom: float, top: float) -> np.ndarray:
    """(D,H,W) real numbers to uint8: `bottom` to 0, `top` to 255, clipped beyond, fractions cut off."""
    result = np.empty(image.shape, np.uint8)
    for source, target in zip(
        image, result, strict=True
    ):  # slice by slice: no float copy of the whole volume
        # Each factor is halved so that the range of the widest float64 volume does not overflow.
        part = (np.clip(source.astype(np.float64), bottom, top) / 2 - bottom / 2) / (top / 2 - bottom / 2)
        target[...] = part * 255.0
    return result
