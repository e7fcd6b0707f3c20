"""The region of the fine stage, from the coarse foreground (rules 27, 29 and 31)."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from vesal.inference.families.published.rules import Lengths, Rules
from vesal.inference.families.published.spacing import region_spacing_mm

Bounds = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""First and one-past-last voxel of each axis (D,H,W)."""


def region_bounds(
    foreground: np.ndarray, spacing_mm: Lengths, classes: Collection[str], rules: Rules
) -> Bounds:
    """The part of a volume for the fine stage.

    Args:
        foreground: (D,H,W) bool, the coarse result without specks (`postprocess.specks`).
        spacing_mm: (D,H,W), as `plausible_spacing` gives it.
        classes: of the case.
        rules: of the profile.

    Returns:
        the foreground's box about its centre, so much larger that it holds one window of the fine stage, or
        1.1 times its extent where that is more; clipped to the volume. The whole volume where the foreground
        is empty: the published code crashes where only specks were found (rule 39).
    """
    shape = foreground.shape
    assert len(shape) == 3
    extents = [np.flatnonzero(foreground.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    if not extents[0].size:
        return (0, shape[0]), (0, shape[1]), (0, shape[2])
    reach_mm = region_spacing_mm(shape, spacing_mm, classes, rules)
    factor = region_factor(classes, rules)
    d, h, w = (
        _bounds(int(at[0]), int(at[-1]), n, np.float32(crop / 2 * t / np.float32(s) - 1), factor)
        for at, n, crop, t, s in zip(
            extents, shape, rules.fine.crop, rules.fine.target_mm, reach_mm, strict=True
        )
    )
    return d, h, w


def region_factor(classes: Collection[str], rules: Rules) -> float:
    """How many times its extent the foreground's box is made (rule 29)."""
    return next((f for name, f in rules.region.factors.items() if name in classes), rules.region.factor)


def _bounds(first: int, last: int, length: int, half_window: np.float32, factor: float) -> tuple[int, int]:
    centre = (first + last) / 2
    half_extent = (last - first + 1) * factor / 2
    reach = half_extent if half_extent > half_window else half_window
    return max(0, int(centre - reach)), min(length - 1, int(centre + reach)) + 1
