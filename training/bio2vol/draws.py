"""What a step learns from: parts of some volumes of one set, each turned, moved and recoloured a little."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vesal.training.bio2vol.slices import Sampled

SHARES = {"MR_Heart_ACDC": 0.5, "MR_LeftAtrium": 0.25, "MR_Prostate": 0.25}
"""How often a set is drawn."""
BATCH = 3
"""Parts in a step."""
TURN_RAD, SCALE, SHIFT = 0.3, 0.15, 0.1
"""Largest turn, change of size and shift (as a share of a side) within slices."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Parts of B volumes of one set."""

    dataset: str
    image: Tensor
    """(B, T, h, w) float32, about -1..1"""
    truth: Tensor
    """(B, N, T, h, w) float32, 0 or 1"""
    text: Tensor
    """(B, N, TEXT)"""

    def every(self, rate: int) -> Batch:
        """Every ``rate``-th slice, from the first."""
        return Batch(self.dataset, self.image[:, ::rate], self.truth[:, :, ::rate], self.text)


def by_set(volumes: Sequence[Sampled]) -> dict[str, list[Sampled]]:
    """Volumes of each set; those that lack a target of their set cannot share a batch and are left out."""
    found: dict[str, list[Sampled]] = {}
    for volume in volumes:
        found.setdefault(volume.dataset, []).append(volume)
    most = {name: max(len(v.truth) for v in group) for name, group in found.items()}
    return {name: [v for v in group if len(v.truth) == most[name]] for name, group in found.items()}


def draw(
    groups: Mapping[str, Sequence[Sampled]], depth: int, seed: Sequence[int], hidden: float = 0.0
) -> Batch:
    """A batch of contiguous parts of ``depth`` slices, or of all slices of the shortest volume in it.

    The same seed gives the same batch, whatever was drawn before; a share of its slices is ``hidden``.
    """
    rng = np.random.default_rng(seed)
    names = [name for name in SHARES if name in groups]
    shares = np.array([SHARES[name] for name in names])
    name = names[rng.choice(len(names), p=shares / shares.sum())]
    chosen = [groups[name][i] for i in rng.integers(len(groups[name]), size=BATCH)]
    length = min(depth, *(len(v.image) for v in chosen))
    images, truths = [], []
    for volume in chosen:
        start = int(rng.integers(len(volume.image) - length + 1))
        part = slice(start, start + length)
        grid = placed(rng, volume.image.shape[-1])
        images.append(recoloured(moved(volume.image[None, part], grid, 1.0)[0], rng))
        truths.append((moved(volume.truth[:, part], grid, 0.0) > 0.5).float())
    if hidden:
        images = [blackened(image, rng, hidden)[0] for image in images]
    return Batch(name, torch.stack(images), torch.stack(truths), torch.stack([v.text for v in chosen]))


def blackened(x: Tensor, rng: np.random.Generator, share: float) -> tuple[Tensor, np.ndarray]:
    """Slices (T, h, w) of which about a share is black, and which ones: (T,) bool."""
    chosen = rng.random(len(x)) < share
    return torch.where(torch.from_numpy(chosen)[:, None, None], -1.0, x), chosen


def placed(rng: np.random.Generator, side: int) -> Tensor:
    """Where the pixels of a changed slice are read: (1, side, side, 2), as ``grid_sample`` wants it."""
    angle, size = rng.uniform(-TURN_RAD, TURN_RAD), 1 + rng.uniform(-SCALE, SCALE)
    cos, sin = math.cos(angle) * size, math.sin(angle) * size
    x, y = rng.uniform(-2 * SHIFT, 2 * SHIFT, 2)
    matrix = torch.tensor([[[cos, -sin, x], [sin, cos, y]]], dtype=torch.float32)
    return F.affine_grid(matrix, [1, 1, side, side], align_corners=False)


def moved(x: Tensor, grid: Tensor, shift: float) -> Tensor:
    """(N, T, h, w) read at ``grid``, all slices alike; minus ``shift`` where nothing is."""
    flat = x.reshape(1, -1, *x.shape[2:]) + shift
    return F.grid_sample(flat, grid, align_corners=False).reshape(x.shape) - shift


def recoloured(x: Tensor, rng: np.random.Generator) -> Tensor:
    """(T, h, w) in -1..1 with another gamma, contrast and brightness; black stays black."""
    unit = ((x + 1) / 2).clamp(0, 1) ** math.exp(rng.uniform(-0.3, 0.3))
    return (unit * rng.uniform(0.8, 1.25) * 2 - 1).clamp(-1, 1.5)
