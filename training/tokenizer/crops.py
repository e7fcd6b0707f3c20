"""Parts of volumes at a degree of anisotropy, in batches of one degree (SPAD-Nets, section 5.1).

A volume of a lower degree is brought to a higher one: means of slices that lie together. From ``ALONE`` on,
where layers see no neighbouring slice, it is single slices instead, as 2D images are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vesal.networks.spad import degree_of_anisotropy
from vesal.networks.spad_vt import patch_dhw
from vesal.training.store import SetRule, Volume

ALONE = 5
"""Degree of an image of one slice."""
DEGREE_SHARES = (0.25, 0.2, 0.2, 0.12, 0.11, 0.12)
"""How often batches have each degree: most volumes have one of the first three."""
SIDE = 64
"""In-plane voxels of a crop. The paper's crops have 128 and a depth of 64 / 2^DA, half as deep as wide."""
BATCH_VOXELS, MOST_CROPS = 8 * SIDE**3 // 2, 16
"""Of a batch; at degree 0 they are 8 crops."""
EVEN = 0.5
"""Power of the number of a set's volumes by which it is drawn."""


@dataclass(frozen=True)
class Batch:
    """Crops of one degree."""

    image: Tensor
    """(B, 1, D, H, W) float32, -1..1, thick axis first"""
    degree: int


def thick_axis(spacing_dhw_mm: Sequence[float]) -> int:
    """The axis of the longest voxel edge; the first of several."""
    return int(np.argmax(spacing_dhw_mm))


def own_degree(spacing_dhw_mm: Sequence[float]) -> int:
    """Degree of anisotropy of a volume as it stands, at most ``ALONE``."""
    thick = thick_axis(spacing_dhw_mm)
    plane = [s for axis, s in enumerate(spacing_dhw_mm) if axis != thick]
    return min(degree_of_anisotropy((spacing_dhw_mm[thick], *plane)), ALONE)


def slices_together(own: int, degree: int) -> int:
    """Slices of a volume of degree ``own`` that make one of ``degree``."""
    return 1 if degree >= ALONE else 1 << (degree - own)


def thickened(image: np.ndarray, together: int) -> np.ndarray:
    """(D, H, W), thick axis first -> float32 (D / together, H, W): means of slices, whole groups alone."""
    count = len(image) // together
    grouped = image[: count * together].reshape(count, together, *image.shape[1:])
    means: np.ndarray = grouped.mean(1, dtype=np.float32)
    return means


def scaled(image: np.ndarray) -> np.ndarray:
    """Intensity 0..255, any shape and number type -> float32 -1..1."""
    return image.astype(np.float32) / 127.5 - 1


def padded(image: np.ndarray, sides: Sequence[int]) -> np.ndarray:
    """(D, H, W) to at least ``sides`` voxels: the last voxel repeated."""
    missing = [(0, max(0, side - n)) for side, n in zip(sides, image.shape, strict=True)]
    return np.pad(image, missing, "edge")


class CropSource:
    """Batches of a run: each step has a seed of its own, so a run that goes on draws what it would have."""

    def __init__(self, volumes: Sequence[Volume], rules: dict[str, SetRule], seed: int) -> None:
        """``rules``: a set without one, or of no weight, is not drawn.

        Raises:
            ValueError: no volume is left.
        """
        self._by_set: dict[str, list[tuple[Volume, int]]] = {}
        for volume in volumes:
            if volume.dataset in rules and rules[volume.dataset].weight > 0:
                drawn = volume, own_degree(volume.spacing_dhw_mm)
                self._by_set.setdefault(volume.dataset, []).append(drawn)
        if not self._by_set:
            raise ValueError("no volume belongs to a set with a weight in training/sets.json; give others")
        self._seed = seed
        self._lowest = min(own for known in self._by_set.values() for _, own in known)

    def batch(self, step: int) -> Batch:
        """The batch of a step, of the first degree from a drawn one on that a volume can be brought to."""
        rng = np.random.default_rng([self._seed, step])
        degree = int(rng.choice(len(DEGREE_SHARES), p=DEGREE_SHARES))
        degree = max(degree, self._lowest)
        depth = max(SIDE // 2 >> degree, 1)
        count = min(MOST_CROPS, BATCH_VOXELS // (depth * SIDE * SIDE))
        crops = [self._crop(degree, depth, rng) for _ in range(count)]
        return Batch(torch.from_numpy(np.stack(crops))[:, None], degree)

    def _crop(self, degree: int, depth: int, rng: np.random.Generator) -> np.ndarray:
        """One crop (depth, SIDE, SIDE) float32, -1..1."""
        known = {
            name: [(v, own) for v, own in volumes if own <= degree] for name, volumes in self._by_set.items()
        }
        names = [name for name, volumes in known.items() if volumes]
        weights = np.array([len(known[name]) ** EVEN for name in names])
        volumes = known[names[int(rng.choice(len(names), p=weights / weights.sum()))]]
        volume, own = volumes[int(rng.integers(len(volumes)))]
        return draw_crop(volume, own, degree, depth, rng)


def draw_crop(volume: Volume, own: int, degree: int, depth: int, rng: np.random.Generator) -> np.ndarray:
    """A crop (depth, SIDE, SIDE) float32, -1..1, turned and mirrored at will: nothing is named in it."""
    thick, together = thick_axis(volume.spacing_dhw_mm), slices_together(own, degree)
    wanted = [SIDE] * 3
    wanted[thick] = depth * together
    first = [math.floor(edge) for edge in volume.body.start]
    last = [math.ceil(edge) for edge in volume.body.stop]
    at = []
    for axis, side in enumerate(wanted):
        size = min(side, volume.image.shape[axis])
        low = max(0, min(first[axis], volume.image.shape[axis] - size))
        high = max(low, min(last[axis], volume.image.shape[axis]) - size)
        start = int(rng.integers(low, high + 1))
        at.append(slice(start, start + size))
    part = np.moveaxis(np.asarray(volume.image[at[0], at[1], at[2]]), thick, 0)
    part = padded(part, (depth * together, SIDE, SIDE))
    crop = scaled(thickened(part, together))
    crop = np.flip(crop, tuple(axis for axis in range(3) if rng.random() < 0.5))
    return np.ascontiguousarray(crop.swapaxes(1, 2) if rng.random() < 0.5 else crop)


def whole_patches(image: np.ndarray, degree: int) -> np.ndarray:
    """(D, H, W) padded to sides that are multiples of a patch."""
    return padded(
        image, [-(-n // side) * side for n, side in zip(image.shape, patch_dhw(degree), strict=True)]
    )
