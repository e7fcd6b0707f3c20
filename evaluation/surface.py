"""Normalised surface Dice: the share of both surfaces that lies within a tolerance of the other one.

Surface elements sit on the corners of voxels; their areas come from marching cubes over each 2x2x2
neighbourhood, as in DeepMind's `surface-distance`, which the official script uses. The table of areas is
that package's (its release 0.1 can do no more beside numpy 2). Its distance transform over the whole box is
replaced: only elements that the surfaces do not share are looked up, in a k-d tree of the other surface, no
farther than the tolerance.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

Box = tuple[slice, slice, slice]


def surface_dice(
    prediction: np.ndarray,
    truth: np.ndarray,
    spacing_dhw_mm: tuple[float, float, float],
    tolerance_mm: float = 2.0,
) -> float:
    """Return the normalised surface Dice of two (D,H,W) bool masks, 0..1.

    Args:
        prediction: (D,H,W) bool.
        truth: (D,H,W) bool, same shape.
        spacing_dhw_mm: voxel spacing in the order of the axes.
        tolerance_mm: elements up to this far from the other surface count as right.

    Returns:
        1 for equal masks, 0 when one mask is empty, NaN when both are.
    """
    box = bounding_box(prediction | truth)
    if box is None:
        return float("nan")
    inside = [_corner_codes(mask[box]) for mask in (prediction, truth)]
    borders = [(codes != 0) & (codes != 255) for codes in inside]
    areas = _areas(tuple(float(s) for s in spacing_dhw_mm))
    shared = borders[0] & borders[1]
    near = total = 0.0
    for codes, own, other in ((inside[0], *borders), (inside[1], *borders[::-1])):
        total += areas[codes[own]].sum()
        near += areas[codes[shared]].sum()
        lone = own & ~shared
        close = _within(lone, other, np.asarray(spacing_dhw_mm, dtype=float), tolerance_mm)
        near += areas[codes[lone]][close].sum()
    return float(near / total)


def bounding_box(mask: np.ndarray) -> Box | None:
    """Return the tight box around a (D,H,W) bool mask, or None when it is empty."""
    slices = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if not len(hit):
            return None
        slices.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return slices[0], slices[1], slices[2]


def _corner_codes(mask: np.ndarray) -> np.ndarray:
    """Return, for each corner of the (D,H,W) voxels, the 8 bits around it: (D+1,H+1,W+1) uint8."""
    bits: np.ndarray = np.pad(mask, 1).astype(np.uint8)
    bits = bits[:, :, :-1] << 1 | bits[:, :, 1:]
    bits = bits[:, :-1] << 2 | bits[:, 1:]
    return bits[:-1] << 4 | bits[1:]


def _within(lone: np.ndarray, other: np.ndarray, spacing_mm: np.ndarray, tolerance_mm: float) -> np.ndarray:
    """Return for each element of `lone`, in raster order, whether `other` has one within the tolerance."""
    from scipy.spatial import cKDTree

    points, targets = np.argwhere(lone), np.argwhere(other)
    if not len(points) or not len(targets):
        return np.zeros(len(points), dtype=bool)
    tree = cKDTree(targets * spacing_mm, balanced_tree=False, compact_nodes=False)
    # A little beyond the tolerance, as the tree's distances carry the rounding of large coordinates. The
    # nearest element is then measured in whole voxel steps, as the official distance transform does.
    _, nearest = tree.query(points * spacing_mm, distance_upper_bound=tolerance_mm * (1 + 1e-6) + 1e-9)
    found = nearest < len(targets)
    steps = (targets[nearest[found]] - points[found]) * spacing_mm
    found[found] = np.sqrt((steps * steps).sum(axis=1)) <= tolerance_mm
    return found


@lru_cache(maxsize=64)
def _areas(spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Return the (256,) areas in mm2 of the surface inside each 2x2x2 neighbourhood."""
    from surface_distance.lookup_tables import create_table_neighbour_code_to_surface_area

    return create_table_neighbour_code_to_surface_area(spacing_mm)
