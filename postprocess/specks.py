"""Remove specks: components too small to be anything (in Medal S's code, not in its paper)."""

from __future__ import annotations

import numpy as np

from vesal.postprocess.checks import require_ndim


def remove_specks(mask: np.ndarray, min_voxels: int = 10) -> np.ndarray:
    """Drop the 6-connected components of fewer than `min_voxels` voxels.

    Args:
        mask: (D,H,W) bool, or integers whose non-zero voxels are foreground: labels count together, so a
            small part of one class that touches another stays.
        min_voxels: fewest voxels of a component that stays; 1 or less keeps all.

    Returns:
        (D,H,W) bool; an empty mask stays empty.

    Raises:
        ArrayShapeError: `mask` is not (D,H,W).
    """
    require_ndim("mask", mask, 3, "(D,H,W)")
    result = mask != 0
    if min_voxels <= 1:
        return result
    spans = [np.flatnonzero(result.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not spans[0].size:
        return result
    import cc3d  # only where there is a foreground

    # Only its box is labelled: the coarse foreground fills a small part of a volume.
    inside = result[tuple(slice(at[0], at[-1] + 1) for at in spans)]
    components, count = cc3d.connected_components(np.ascontiguousarray(inside), connectivity=6, return_N=True)
    large = np.bincount(components.ravel(), minlength=count + 1) >= min_voxels
    inside &= large[components]
    return result
