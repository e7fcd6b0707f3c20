"""What pre-training looks at: a part of a volume without its labels, and which patches are hidden."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from vesal.inference.families.network_input import image_channels
from vesal.inference.geometry.fit import fit_view
from vesal.inference.geometry.resample import to_view
from vesal.inference.geometry.views import Box, triple
from vesal.networks.masked import patch_shape
from vesal.training.augment import draw_flips, intensity
from vesal.training.store import SetRule, Volume

HIDDEN_SHARE = 0.55
"""Of the patches (SPAD-Nets, section 4.4)."""
WHOLE = 0.5
"""Share of crops that show the whole volume, as the coarse stage sees it; others are at native spacing."""
FINEST = (1.0, 2.0)
"""Spacing of these, in native spacings of the finest axis."""


@dataclass(frozen=True, eq=False)
class Crop:
    """A part of a volume as the network sees it, thick axis first."""

    image: Tensor
    """(1, 2, d, h, w) float32, see ``image_channels``"""
    mask: Tensor
    """(1, d', h', w') bool: which patches are hidden"""
    degree: int
    """of anisotropy"""
    dataset: str


def draw_mask(shape: tuple[int, ...], degree: int, rng: np.random.Generator) -> np.ndarray:
    """Which patches of a view (d, h, w) are hidden: bool of its grid of patches, ``HIDDEN_SHARE`` of them.

    At least one is, and at least one is not, where there are two.
    """
    grid = [n // p for n, p in zip(shape, patch_shape(degree), strict=True)]
    count = int(np.prod(grid))
    hidden = np.zeros(count, bool)
    most = max(1, count - 1)
    hidden[rng.permutation(count)[: min(max(1, round(HIDDEN_SHARE * count)), most)]] = True
    return hidden.reshape(grid)


def draw_crop(volume: Volume, rule: SetRule, voxels: int, rng: np.random.Generator) -> Crop:
    """One crop of at most ``voxels`` voxels, mirrored and recoloured as in training."""
    view = fit_view(*_part(volume, voxels, rng))
    image = intensity(to_view(cast(np.ndarray, volume.image), view), rng)
    image = np.flip(image, draw_flips(rule.flips, rng, rule.flipped))
    image = np.ascontiguousarray(np.moveaxis(image, view.thick_axis, 0))
    mask = draw_mask(image.shape, view.degree, rng)
    channels = image_channels(image, volume.statistics)
    return Crop(torch.from_numpy(channels)[None], torch.from_numpy(mask)[None], view.degree, volume.dataset)


def _part(
    volume: Volume, voxels: int, rng: np.random.Generator
) -> tuple[Box, tuple[float, float, float], int, float]:
    """Arguments of ``fit_view``: a box, its spacing, its voxels and the finest spacing."""
    spacing = volume.spacing_dhw_mm
    if rng.random() < WHOLE:
        return volume.body.grown(float(rng.uniform(0.85, 1.15))), spacing, voxels, 0.0
    finest = min(spacing) * float(rng.uniform(*FINEST))
    side_mm = (voxels * 0.8) ** (1 / 3) * finest
    size = np.minimum(np.maximum(side_mm / np.array(spacing), 1.0), volume.body.size)
    start = np.array(volume.body.start) + rng.uniform(size=3) * (np.array(volume.body.size) - size)
    return Box(triple(start.tolist()), triple((start + size).tolist())), spacing, voxels, finest
