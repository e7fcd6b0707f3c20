"""Volumes cut off along one axis: a scan whose field of view ends inside of what is looked for.

A scan of one hospital shows a heart with all of the chest, another one half of it. A network that has seen
organs whole alone does not find one that begins at the border of the volume.
"""

from __future__ import annotations

import numpy as np

from vesal.training.store import WHOLE, Volume, shown_as

SHARES = (0.4, 0.7)
"""Limits of the share of an axis that is left."""
FEWEST = 4
"""Slices that are left at least."""
LEAST_SEEN = 0.3
"""A target of which less than this share of its voxels is left is no target of the part: what a sliver of an
organ is, nobody could tell."""


def part_of(volume: Volume, rng: np.random.Generator) -> Volume:
    """One end of the volume along one axis, drawn; read whole, and kept in memory.

    The same object where that leaves too few slices, or no target.
    """
    axis, at_start = int(rng.integers(3)), bool(rng.random() < 0.5)
    n = volume.image.shape[axis]
    left = round(n * float(rng.uniform(*SHARES)))
    if left < FEWEST:
        return volume
    span = slice(0, left) if at_start else slice(n - left, n)
    at = tuple(span if a == axis else slice(None) for a in range(3))
    before = volume.labels[WHOLE]
    image, labels = volume.image[WHOLE][at].copy(), before[at].copy()
    whole, seen = np.bincount(before.ravel()), np.bincount(labels.ravel())
    shares = {label: seen[label] / whole[label] for label in range(1, len(seen)) if whole[label]}
    targets = tuple(t for t in volume.targets if shares.get(t.label, 0.0) >= LEAST_SEEN)
    if not targets:
        return volume
    return shown_as(volume, image, labels, volume.spacing_dhw_mm, targets)
