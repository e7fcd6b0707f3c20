"""Volumes with no more voxels than a training looks at: smaller to carry, and the same to learn from.

A view has a fixed number of voxels. Where the finest view that a volume gives is several times coarser than
the volume, blocks of its voxels are averaged before the view averages them.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from vesal.inference.geometry.fit import fit_view
from vesal.inference.geometry.views import Triple, triple
from vesal.training.store import SetRule, Volume, labelled
from vesal.training.views import GROW, truth_box

FINER = 1.5
"""A stored voxel is at most the finest view's divided by this, so that a view still averages."""
MOSTLY_CROPS = 0.5
"""From this share of views at the spacing of the file on a set's volumes stay as they are."""
MOST_VOXELS = 4_000_000
"""A volume with more is thinned evenly although some of its views were finer: heads of 1 mm to 2 mm."""
ALIKE = 1.1
"""Axes whose voxels are at most so much longer than the shortest are thinned together."""


def shrunk(volume: Volume, rule: SetRule, fine_voxels: int, most: int = MOST_VOXELS) -> Volume:
    """A volume as it is, or with blocks of voxels in the place of voxels.

    Args:
        volume: labelled; a label that no block has most of is left out with its target.
        rule: of its set.
        fine_voxels: of the largest fine view.
        most: voxels from which on it is thinned evenly.
    """
    if rule.crops >= MOSTLY_CROPS:
        return volume
    factors = evenly(finest_step(volume, rule, fine_voxels), volume, most)
    if factors == (1, 1, 1):
        return volume
    image, labels = volume.image[:, :, :], volume.labels[:, :, :]
    small, numbers = block_means(image, factors), block_majority(labels, factors)
    present = set(np.unique(numbers).tolist())
    d, h, w = (s * f for s, f in zip(volume.spacing_dhw_mm, factors, strict=True))
    targets = tuple(t for t in volume.targets if t.label in present)
    made = labelled(volume.name, volume.dataset, small, numbers, (d, h, w), targets, volume.instance)
    return replace(made, statistics=volume.statistics)  # of the voxels that the engine will see


def finest_step(volume: Volume, rule: SetRule, voxels: int) -> Triple:
    """Voxels of the volume along (D, H, W) for one of the finest view of a single target."""
    boxes = [truth_box(volume, (t,)).grown(GROW[0]) for t in volume.targets]
    steps = [fit_view(box, volume.spacing_dhw_mm, voxels, rule.finest_mm).step for box in boxes]
    return triple(np.min(steps, 0).tolist()) if steps else (1.0, 1.0, 1.0)


def evenly(step: Triple, volume: Volume, most: int) -> tuple[int, int, int]:
    """Voxels along (D, H, W) that become one: what ``step`` allows, and more until ``most`` are left."""
    factors = [max(1, math.floor(s / FINER + 1e-6)) for s in step]
    while math.prod(-(-n // f) for n, f in zip(volume.image.shape, factors, strict=True)) > most:
        lengths = [s * f for s, f in zip(volume.spacing_dhw_mm, factors, strict=True)]
        factors = [f + (mm <= ALIKE * min(lengths)) for f, mm in zip(factors, lengths, strict=True)]
    d, h, w = factors
    return d, h, w


def _in_blocks(array: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """(D, H, W), its last voxels repeated to whole blocks -> (d, fd, h, fh, w, fw)."""
    around = [(0, -n % f) for n, f in zip(array.shape, factors, strict=True)]
    padded = np.pad(array, around, mode="edge")
    sides = [x for n, f in zip(padded.shape, factors, strict=True) for x in (n // f, f)]
    return padded.reshape(sides)


def block_means(image: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """Means of blocks of uint8 (D, H, W), rounded to uint8."""
    return np.rint(_in_blocks(image, factors).mean((1, 3, 5), np.float32)).astype(np.uint8)


def block_majority(labels: np.ndarray, factors: tuple[int, int, int]) -> np.ndarray:
    """The label that most voxels of a block have, the smaller of two; (D, H, W) unsigned, the same type."""
    blocks = _in_blocks(labels, factors)
    most = np.zeros(blocks.shape[::2], np.uint16)
    out = np.zeros(most.shape, labels.dtype)
    for label in np.unique(labels).tolist():
        count = (blocks == label).sum((1, 3, 5), np.uint16)
        more = count > most
        most[more], out[more] = count[more], label
    return out
