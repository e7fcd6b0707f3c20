"""What a user's boxes and points choose of one probability map: arrays alone, axes (d, h, w).

Points snap to connected components. A foreground point keeps the component that holds it: of the foreground,
with what faint voxels join to it, else of what has a low probability, else the nearest, to which it adds what
was missed around the point (``missed``). A background point corrects the component that holds it around
itself (``around``), no further than half way to a foreground point; or removes it, where others remain and
neither a foreground point nor a box holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from vesal.postprocess.components import class_boxes

LOW_PROBABILITY = 0.1
"""A foreground point on no component is looked for among voxels above this; the least that is made a result
where a box says that there is one."""

MIN_SHARE = 0.1
"""A component of less than this share of another's voxels is a speck beside it, as in `geometry.region`."""
REACH = 2.0
"""Radii around a background point within which less probable voxels go. With 3 more is taken than was wrong:
in 5 % of the targets of `val` Dice falls by more than 0.02, with 2 in none."""

ADDS = 1.5
"""The same around a foreground point beside the foreground. On `val` a click in the middle of the largest
part that was missed gains 0.010 of Dice, and costs no target more than 0.003; with 2 it costs some 0.04."""
BALL_VOXELS = 3
"""Radius in voxels of what a point marks by itself, where the network has next to nothing."""
JOINED_GAP = 0.25
"""Share of the extent of the smaller of two components up to which the gap between them parts one thing. On
`val`, what is wrong beside an organ is 0.3 of its own extent away from it, or more."""

Voxel = tuple[int, int, int]


class Others(Enum):
    """Which components stay beside those that foreground points hold."""

    NONE = auto()
    """The target has several objects, and those that are marked are wanted."""
    JOINED = auto()
    """One thing in pieces: what lies end to end with a held one."""
    LARGE = auto()
    """One on each side: all but specks."""
    ALL = auto()
    """It is left to a later stage."""


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
    others: Others = Others.NONE,
    mask: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """What points keep of a map.

    Args:
        probability: (d, h, w) float32 0..1; 0 outside of the boxes, where there are some.
        threshold: from which a voxel is foreground.
        grid: of the map.
        inside: foreground points; without one all components stay but those of ``outside``.
        outside: background points.
        boxes: the user's, on the map: a component in one of them stays whatever the foreground points hold.
        others: what stays beside it too.
        mask: (d, h, w) bool, the user's: as ``boxes``; points beside it correct it.

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
        elif found.any():
            raised |= missed(found, probability, grid, at, outside)
            if not any(_holds(box, at) for box in boxes):
                held.add(int(labels[_nearest(found, grid, at)]))
    keep = np.ones(grid.shape, bool)
    if held or raised.any():
        held |= {int(each) for box in boxes for each in np.unique(labels[box])} - {0}
        if mask is not None:
            held |= {int(each) for each in np.unique(labels[mask])} - {0}
        held |= _stay(labels, held, grid, others)
        keep = _beside(labels, held) & ~_halo(probability, found, np.isin(labels, sorted(held)) | raised)
        keep |= raised
    labels = components((found | raised) & keep) if outside else labels
    held = {int(labels[at]) for at in inside} | {_largest_in(labels, box) for box in boxes}
    for at in outside:
        _remove(keep, labels, probability, grid, at, held - {0}, inside)
    return keep, raised & keep


def _largest_in(labels: np.ndarray, box: tuple[slice, slice, slice]) -> int:
    """The component with the most voxels in a box; 0 where there is none."""
    sizes = np.bincount(labels[box].ravel(), minlength=1)
    sizes[0] = 0
    return int(sizes.argmax())


def _stay(labels: np.ndarray, held: set[int], grid: Grid, others: Others) -> set[int]:
    """Components that stay beside some that are held."""
    sizes = np.bincount(labels.ravel())
    left = set(np.flatnonzero(sizes).tolist()) - held - {0}
    if not left or not held or others is Others.NONE:
        return set()
    if others is Others.ALL:
        return left
    if others is Others.LARGE:
        least = MIN_SHARE * max(int(sizes[i]) for i in held)
        return {i for i in left if sizes[i] >= least}
    return _joined(labels, held, left, grid)


def _joined(labels: np.ndarray, held: set[int], left: set[int], grid: Grid) -> set[int]:
    """Those of ``left`` that lie end to end with a held one, or with one that does."""
    import edt  # as below

    extents = {
        i: float(np.linalg.norm([(s.stop - s.start) * mm for s, mm in zip(box, grid.step_mm, strict=True)]))
        for i, box in class_boxes(labels).items()
    }
    found: set[int] = set()
    new = held
    while new and left:
        longest = max(extents[i] for i in new)
        free = np.pad(~np.isin(labels, sorted(new)), 1, constant_values=True)
        distance = edt.edt(free, anisotropy=grid.step_mm)[1:-1, 1:-1, 1:-1]
        new = {i for i in left if float(distance[labels == i].min()) <= JOINED_GAP * min(longest, extents[i])}
        found |= new
        left = left - new
    return found


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
    keep: np.ndarray,
    labels: np.ndarray,
    probability: np.ndarray,
    grid: Grid,
    at: Voxel,
    held: set[int],
    inside: Sequence[Voxel],
) -> None:
    """Take the component at a background point, or what is around the point, out of ``keep``, in place."""
    keep[at] = False
    label = int(labels[at])
    if not label:
        return
    if label not in held and _others_remain(keep, labels, label, held):
        keep[labels == label] = False
        return
    mine = around(labels == label, probability, grid, at)
    nearer = grid.squared_mm(at)
    for place in inside:
        mine &= nearer < grid.squared_mm(place)
    keep[mine] = False


def _others_remain(keep: np.ndarray, labels: np.ndarray, label: int, held: set[int]) -> bool:
    """Whether without a component there is still a held one, or one that is no speck beside it."""
    sizes = np.bincount(labels[keep], minlength=int(labels.max()) + 1)
    others = [i for i in range(1, len(sizes)) if i != label and sizes[i]]
    return any(i in held or sizes[i] >= MIN_SHARE * np.count_nonzero(labels == label) for i in others)


def around(mine: np.ndarray, probability: np.ndarray, grid: Grid, at: Voxel) -> np.ndarray:
    """What a background point in a component takes of it.

    A click is made in the middle of what is wrong, whose size is told by the distance from there to the
    border: the ball of that radius goes, and within ``REACH`` radii what hangs together and is no more
    probable than the place that is said to be wrong.

    Args:
        mine: (d, h, w) bool, the component.
        probability: (d, h, w) float32 0..1.
        grid: of both.
        at: the point, in ``mine``.
    """
    import edt  # a case without background points does not need it

    inner = edt.edt(np.pad(mine, 1), anisotropy=grid.step_mm)
    radius = float(inner[tuple(i + 1 for i in at)])
    squared = grid.squared_mm(at)
    faint = mine & (probability <= probability[at]) & (squared <= (REACH * radius) ** 2)
    taken = faint | (mine & (squared <= radius**2))
    parts = components(taken)
    return np.asarray(parts == parts[at])


def missed(
    found: np.ndarray, probability: np.ndarray, grid: Grid, at: Voxel, outside: Sequence[Voxel]
) -> np.ndarray:
    """(d, h, w) bool: what a foreground point beside the foreground adds to it.

    As in ``around``, the size of what was missed is told by the distance from its middle to what was found:
    within ``ADDS`` of that, what hangs together and is no less probable than the point's place; nothing
    beyond half way to a background point.

    Args:
        found: (d, h, w) bool, the foreground, with a voxel at least.
        probability: (d, h, w) float32 0..1.
        grid: of both.
        at: the point, not in ``found``.
        outside: background points.
    """
    squared = grid.squared_mm(at)
    radius = float(np.sqrt(squared[found].min()))
    if probability[at] < LOW_PROBABILITY:
        radius = min(radius, BALL_VOXELS * max(grid.step_mm))
    taken = ~found & (probability >= probability[at]) & (squared <= (ADDS * radius) ** 2)
    for place in outside:
        taken &= squared < grid.squared_mm(place)
    parts = components(taken)
    return np.asarray((parts == parts[at]) & taken)


def _holds(box: tuple[slice, slice, slice], at: Voxel) -> bool:
    return all(side.start <= x < side.stop for side, x in zip(box, at, strict=True))


def ellipsoid(box: tuple[slice, slice, slice]) -> np.ndarray:
    """(d, h, w) bool: the ellipsoid that fills a box of voxels; the whole box where it is one voxel thick."""
    axes = []
    for side in box:
        n = side.stop - side.start
        axes.append(((np.arange(n) - (n - 1) / 2) / (n / 2)) ** 2)
    return np.asarray(axes[0][:, None, None] + axes[1][:, None] + axes[2] <= 1)
