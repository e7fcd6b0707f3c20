"""Smoothed copies of prostates in T2 MR, made of the sharp ones.

One provider gives prostates resampled to 1.5 mm, smoothed until no texture is left, cropped, and turned by a
quarter in plane (``MR_ProstateSmooth``). It has ten volumes to train on, of fewer patients; thirty other
patients are there as they were scanned (``MR_Prostate``). What the provider did is done to these again, each
time with other amounts. How much was read off the ten training volumes.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.ndimage import affine_transform, gaussian_filter

from vesal.training.shelf import Source, files
from vesal.training.store import Volume, labelled, read_volume

MADE_OF, DATASET = "MR_Prostate", "MR_ProstateSmoothed"
VERSION = 1
"""Raised when the drawing changes, so that shelves are filled anew."""
COPIES = 3
"""Smoothed copies of each volume."""
SPACING_MM = 1.5
SHAPE = (64, 69, 69)
IN_PLANE, ACROSS = (0.65, 0.9), (0.8, 1.05)
"""Factors on the nominal spacing: with it sharp prostates hold 75 to 340 ml; smoothed ones hold 20 to 170."""
SMOOTH_MM = (2.0, 3.8)
"""Standard deviation of the smoothing of image and mask."""
OFF_CENTRE_MM = 8.0
NOISE = (0.5, 2.5)
"""Standard deviation of what noise is left, in values of 0 to 255."""


def source(paths: Sequence[Path]) -> Source:
    """The copies of ``paths`` for a shelf; made again when the files or the drawing change."""
    key = json.dumps([VERSION, COPIES, files(paths).key])
    return Source(f"{DATASET} {key}", smoothed_volumes(paths))


def smoothed_volumes(paths: Sequence[Path], seed: int = 0) -> Iterator[Volume]:
    """``COPIES`` of each labelled npz of ``MADE_OF``; the same files and seed give the same volumes."""
    for path in paths:
        sharp = read_volume(path)
        for number in range(COPIES if sharp.targets else 0):
            rng = np.random.default_rng([seed, number, zlib.crc32(sharp.name.encode())])
            yield smooth(sharp, f"{sharp.name}_{number}", rng)


def smooth(sharp: Volume, name: str, rng: np.random.Generator) -> Volume:
    """One copy of a volume with a single target, ``SHAPE`` voxels of ``SPACING_MM``.

    What lies outside of ``sharp`` is 0, as is the provider's: so the ends of the stack fade.
    """
    (target,) = sharp.targets
    place = sharp.places[target.label]
    size = np.array([rng.uniform(*ACROSS), *[rng.uniform(*IN_PLANE)] * 2]) * sharp.spacing_dhw_mm
    sigma = rng.uniform(*SMOOTH_MM) / size
    matrix = np.diag(SPACING_MM / size)
    centre = (np.add(place.start, place.stop) - 1) / 2 + rng.uniform(-OFF_CENTRE_MM, OFF_CENTRE_MM, 3) / size
    start = centre - matrix @ ((np.array(SHAPE) - 1) / 2)

    def sampled(values: np.ndarray) -> np.ndarray:
        soft = gaussian_filter(values.astype(np.float32), sigma, mode="constant")
        return affine_transform(soft, matrix, start, SHAPE, order=1, mode="constant").swapaxes(1, 2)

    image = sampled(sharp.image[:, :, :]) + rng.normal(0, rng.uniform(*NOISE), SHAPE)
    image = np.clip(image, 0, 255).astype(np.uint8)
    labels = np.where(sampled(sharp.labels[:, :, :] == target.label) > 0.5, target.label, 0).astype(np.uint8)
    spacing = (SPACING_MM, SPACING_MM, SPACING_MM)
    return labelled(name, DATASET, image, labels, spacing, (target,), sharp.instance)
