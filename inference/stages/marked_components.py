"""What a user's boxes and points choose of one probability map: arrays alone, axes (d, h, w).

Points snap to connected components. A foreground point keeps the component that holds it: of the foreground,
with what faint voxels join to it, else of what has a low probability, else the nearest. A background point
removes the component that holds it; where that one is held by a foreground point or a box as well, what lies
nearer to the background point goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LOW_PROBABILITY = 0.1
"""A foreground point on no component is looked for among voxels above this; the least that is made a result
where a box says that there is one."""

Voxel = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Grid:
    """A map's shape (d, h, w) and the mm of its voxels along each axis."""

    shape: Voxel
    step_mm: tuple[float, float, float]

    def squared_mm(self, to: Sequence[float]) -> np.ndarray:
        """(d, h, w) float64: squared distance of every voxel's centre to a place in voxels."""
        axes = [
            ((np.arange(n) - at) * mm) ** 2 for n, at, mm in zip(self.shape, to, self.step_mm, strict=True)
        ]
        return axes[0][:, None, None] + axes[1][:, None] + axes[2]


def components(mask: np.ndarray) -> np.ndarray:
    """Labels (d, h, w) unsigned of the connected components of a mask; 0 is background."""
    import cc3d  # a case without points does not need it

    # With a border, and as many neighbours, as in `geometry.region`.
    labels = cc3d.connected_components(np.pad(mask, 1), connectivity=26)
    return np.asarray(labels[1:-1, 1:-1, 1:-1])


def chosen(
    probability: np.ndarray,
    threshold: float,
    grid: Grid,
    inside: Sequence[Voxel],
    outside: Sequence[Voxel],
    boxes: Sequence[tuple[slice, slice, slice]] = (),
) -> tuple[np.ndarray, np.ndarray]:
    """What points keep of a map.

    Args:
        probability: (d, h, w) float32 0..1; 0 outside of the boxes, where there are some.
        threshold: from which a voxel is foreground.
        grid: of the map.
        inside: foreground points; without one all components stay but those of ``outside``.
        outside: background points.
        boxes: the user's, on the map: a component in one of them stays whatever the foreground points hold.

    Returns:
        masks (d, h, w) bool: what is kept, also of voxels below the threshold beside it; and which of them
        are foreground by a point although they are below the threshold.
    """
    found = probability > threshold
    # Parts that faint voxels join are one thing: a thin organ comes in pieces.
    labels = np.where(found, components(probability > min(LOW_PROBABILITY, threshold)), 0)
    held = {int(labels[at]) for at in inside} - {0}
    raised = np.zeros(grid.shape, bool)
    for at in inside:
        if labels[at]:
            continue
        low = components(probability > LOW_PROBABILITY) if probability[at] > LOW_PROBABILITY else None
        if low is not None and not (low == low[at])[found].any():
            raised |= low == low[at]
        elif found.any() and not any(_holds(box, at) for box in boxes):
            held.add(int(labels[_nearest(found, grid, at)]))
    keep = np.ones(grid.shape, bool)
    if held or raised.any():
        held |= {int(each) for box in boxes for each in np.unique(labels[box])} - {0}
        keep = _beside(labels, held) & ~_halo(probability, found, np.isin(labels, sorted(held)) | raised)
        keep |= raised
    labels = components(found & keep) if outside else labels
    for at in outside:
        _remove(keep, labels, grid, at, [*inside, *_middles(labels, grid, labels[at], boxes)])
    return keep, raised & keep


def _beside(labels: np.ndarray, held: set[int]) -> np.ndarray:
    """(d, h, w) bool: components that are held, and all voxels of no component."""
    return (labels == 0) | np.isin(labels, sorted(held))


def _halo(probability: np.ndarray, found: np.ndarray, held: np.ndarray) -> np.ndarray:
    """(d, h, w) bool: voxels below the threshold that belong to foreground that is not held."""
    low = components(probability > LOW_PROBABILITY)
    with_held = np.unique(low[held])
    return (low > 0) & ~found & ~np.isin(low, with_held)


def _nearest(found: np.ndarray, grid: Grid, at: Sequence[float]) -> Voxel:
    distance = np.where(found, grid.squared_mm(at), np.inf)
    d, h, w = np.unravel_index(int(distance.argmin()), grid.shape)
    return int(d), int(h), int(w)


def _remove(
    keep: np.ndarray, labels: np.ndarray, grid: Grid, at: Voxel, anchors: Sequence[Sequence[float]]
) -> None:
    """Take the component at a background point, or its part of it, out of ``keep``, in place."""
    if not labels[at]:
        keep[at] = False
        return
    mine = labels == labels[at]
    own = [place for place in anchors if _label_at(labels, place) == labels[at]]
    if own:
        nearer = grid.squared_mm(at)
        for place in own:
            mine &= nearer <= grid.squared_mm(place)
    keep[mine] = False


def _label_at(labels: np.ndarray, place: Sequence[float]) -> int:
    at = tuple(min(n - 1, max(0, round(x))) for x, n in zip(place, labels.shape, strict=True))
    return int(labels[at])


def _middles(
    labels: np.ndarray, grid: Grid, label: int, boxes: Sequence[tuple[slice, slice, slice]]
) -> list[Voxel]:
    """Of each box that holds voxels of a component the one nearest to its middle: a ring has none there."""
    found = []
    for box in boxes:
        inside = np.zeros(grid.shape, bool)
        inside[box] = labels[box] == label
        if label and inside.any():
            found.append(_nearest(inside, grid, _centre(box)))
    return found


def _centre(box: tuple[slice, slice, slice]) -> tuple[float, ...]:
    return tuple((side.start + side.stop - 1) / 2 for side in box)


def _holds(box: tuple[slice, slice, slice], at: Voxel) -> bool:
    return all(side.start <= x < side.stop for side, x in zip(box, at, strict=True))


def ellipsoid(box: tuple[slice, slice, slice]) -> np.ndarray:
    """(d, h, w) bool: the ellipsoid that fills a box of voxels; the whole box where it is one voxel thick."""
    axes = []
    for side in box:
        n = side.stop - side.start
        axes.append(((np.arange(n) - (n - 1) / 2) / (n / 2)) ** 2)
    return np.asarray(axes[0][:, None, None] + axes[1][:, None] + axes[2] <= 1)
