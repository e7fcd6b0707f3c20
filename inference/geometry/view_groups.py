"""Which targets share a view of the fine stage: those that a view around all of them shows as finely.

A view costs an encoder pass, so targets that lie together should share one; but a view around everything
would be no finer than the coarse one. Hence targets are put together as long as the view around them all is
hardly coarser than the finest that one of them would have alone (Medal S 2.5: the spacing fits what is looked
for). Training forms its fine views by the same rule.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vesal.inference.geometry.views import Box, Triple, triple


def bounding_box(boxes: Sequence[Box]) -> Box:
    """The box that holds all of ``boxes``, at least one."""
    start = np.min([b.start for b in boxes], 0)
    return Box(triple(start.tolist()), triple(np.max([b.stop for b in boxes], 0).tolist()))


def spacing_over(box: Box, spacing_dhw_mm: Triple, voxels: int, finest_mm: float = 0.0) -> float:
    """About the spacing in mm that ``fit_view`` finds for ``box``, without its rounding of sides.

    Args:
        box: native voxel edges.
        spacing_dhw_mm: native spacing; no axis is sampled finer.
        voxels: of the view, at most.
        finest_mm: no view is finer.
    """
    left, room = [0, 1, 2], float(voxels)
    extent = [max(n, 1e-3) * s for n, s in zip(box.size, spacing_dhw_mm, strict=True)]
    while True:
        volume = 1.0
        for axis in left:
            volume *= extent[axis]
        t = (volume / max(room, 1.0)) ** (1 / len(left))
        coarser = [axis for axis in left if spacing_dhw_mm[axis] > t]
        if not coarser or len(coarser) == len(left):
            return max(t, min(spacing_dhw_mm), finest_mm)
        for axis in coarser:  # sampled as it was acquired, so the others may have the rest of the voxels
            room /= extent[axis] / spacing_dhw_mm[axis]
            left.remove(axis)


def group(
    boxes: Sequence[Box | None],
    spacing_dhw_mm: Triple,
    voxels: int,
    together: int,
    coarser: float,
    finest_mm: float = 0.0,
) -> list[tuple[int, ...]]:
    """Put targets into views, the largest targets first; fixed for the same input.

    Args:
        boxes: where each target is looked for, native voxel edges; None where nothing is known of it. Such
            targets join the view that shows most, and stay alone where no other has a box.
        spacing_dhw_mm: native spacing.
        voxels: most voxels of a view.
        together: most targets in a view, 1 or more.
        coarser: a view may be this much coarser than the finest that one of its targets has alone, 1 or more.
        finest_mm: no view is finer; 0 leaves it to the native spacing.

    Returns:
        groups of indices into ``boxes``, ascending within a group and by their first.
    """

    def spacing(box: Box) -> float:
        return spacing_over(box, spacing_dhw_mm, voxels, finest_mm)

    alone = {i: spacing(box) for i, box in enumerate(boxes) if box is not None}
    groups: list[tuple[list[int], Box, float]] = []
    for i in sorted(alone, key=lambda i: (-alone[i], i)):
        box = boxes[i]
        assert box is not None
        best, best_ratio = -1, coarser
        for number, (members, united, finest) in enumerate(groups):
            if len(members) >= together:
                continue
            ratio = spacing(bounding_box([united, box])) / min(finest, alone[i])
            if ratio <= best_ratio and (best < 0 or ratio < best_ratio):
                best, best_ratio = number, ratio
        if best < 0:
            groups.append(([i], box, alone[i]))
        else:
            members, united, finest = groups[best]
            groups[best] = ([*members, i], bounding_box([united, box]), min(finest, alone[i]))
    found = [members for members, _, _ in sorted(groups, key=lambda g: -np.prod(g[1].size))]
    unknown = [i for i in range(len(boxes)) if i not in alone]
    for members in found:
        room = together - len(members)
        members += unknown[:room]
        unknown = unknown[room:] if room > 0 else unknown
    found += [unknown[first : first + together] for first in range(0, len(unknown), together)]
    return sorted(tuple(sorted(members)) for members in found)
