"""Augmentation of one sampled view: mirror, turn, intensity. Geometry before sampling is in ``views.py``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from vesal.training.blur import gaussian_filter
from vesal.training.store import TURN_RAD

FLIP, TURN = 0.5, 0.4
BEND, BEND_SHARE = 0.25, 0.05
"""Probability of an elastic deformation, and its largest displacement as a share of a side."""
BEND_KNOTS = 4
MIRROR = "mirror"
TURNED = ("pairs", "any")
"""Rules under which half turns about all axes occur."""
MIRRORED = "any"
"""Rule under which mirror images along any one axis occur, under the same names."""


def draw_flips(rule: str, rng: np.random.Generator, share: float = 1.0) -> tuple[int, ...]:
    """Axes to mirror under a set's rule, in a ``share`` of all draws; in the others none.

    ``none``; ``pairs``, a half turn; ``any``; or ``mirror 2``: left and right lie along axis 2, mirrored
    with the sides swapped.
    """
    if share < 1 and rng.random() >= share:
        return ()
    if rule.startswith(MIRROR):
        return (int(rule.removeprefix(MIRROR)),) if rng.random() < FLIP else ()
    if rule == "none":
        return ()
    if rule == "pairs":
        return tuple(sorted(rng.choice(3, 2, replace=False).tolist())) if rng.random() < FLIP else ()
    if rule == MIRRORED:
        return tuple(a for a in range(3) if rng.random() < FLIP)
    raise ValueError(f"flips is {rule!r}; wanted none, pairs, any or mirror AXIS")


def draw_turn(degree: int, rng: np.random.Generator, most_rad: float = TURN_RAD) -> tuple[int, float]:
    """Axis and angle (rad, at most ``most_rad``) of a turn, about the thick axis where there is one; often
    none.
    """
    axis = 0 if degree else int(rng.integers(3))
    return axis, float(rng.uniform(-most_rad, most_rad)) if rng.random() < TURN else 0.0


def turn(values: torch.Tensor, axis: int, angle: float, mode: str = "bilinear") -> torch.Tensor:
    """Turn (C, D, H, W) float about ``axis`` by ``angle`` (rad) in voxel units; 0 comes in from outside."""
    return warp(values, warp_grid(values.shape[1:], axis, angle, None, values.device), mode)


def draw_bend(rng: np.random.Generator) -> torch.Tensor | None:
    """Displacements (1, 3, k, k, k) at a few knots, as shares of the sides in order (x, y, z); often none."""
    if rng.random() >= BEND:
        return None
    amount = rng.uniform(0.2, 1.0) * BEND_SHARE
    knots = rng.uniform(-amount, amount, (1, 3, *[BEND_KNOTS] * 3))
    return torch.from_numpy(knots.astype(np.float32))


def bend(values: torch.Tensor, knots: torch.Tensor | None, mode: str = "bilinear") -> torch.Tensor:
    """Displace (C, D, H, W) float by smooth ``knots`` (see ``draw_bend``); 0 comes in from outside.

    The same with ``-knots`` undoes it, but for what is of second order in the displacement.
    """
    return warp(values, warp_grid(values.shape[1:], 0, 0.0, knots, values.device), mode)


def warp_grid(
    shape: Sequence[int],
    axis: int,
    angle: float,
    knots: torch.Tensor | None,
    device: torch.device | None = None,
) -> torch.Tensor | None:
    """Where each voxel of a turned, then bent view is read, None where it stays: one interpolation for both.

    Args:
        shape: (D, H, W).
        axis: of the turn.
        angle: of the turn, rad.
        knots: see ``draw_bend``; on ``device``, where the places shall be (None: the processor).

    Returns:
        (1, D, H, W, 3) float32 as ``grid_sample`` wants it: (x, y, z), -1..1 from edge to edge.
    """
    if angle == 0.0 and knots is None:
        return None
    at = [torch.linspace(1 / n - 1, 1 - 1 / n, n, device=device) for n in shape]
    parts = [x.reshape([-1 if a == b else 1 for b in range(3)]) for a, x in enumerate(at)]
    if knots is not None:
        shift = F.interpolate(knots, tuple(shape), mode="trilinear", align_corners=True)[0]
        parts = [x + 2 * s for x, s in zip(parts, shift.flip(0), strict=True)]
    if angle != 0.0:
        a, b = (x for x in range(3) if x != axis)
        ratio = shape[b] / shape[a]
        cos, sin = math.cos(angle), math.sin(angle)
        parts[a], parts[b] = (
            cos * parts[a] - sin * ratio * parts[b],
            sin / ratio * parts[a] + cos * parts[b],
        )
    return torch.stack([x.expand(tuple(shape)) for x in reversed(parts)], -1)[None]


def warp(values: torch.Tensor, grid: torch.Tensor | None, mode: str = "bilinear") -> torch.Tensor:
    """(C, D, H, W) float read at ``warp_grid``'s places, 0 outside; the same object where there is none."""
    if grid is None:
        return values
    return F.grid_sample(values[None], grid, mode, "zeros", align_corners=False)[0]


@dataclass(frozen=True)
class Recolouring:
    """What is done to the values of one view; None where it is not. Noise comes on top, see ``noise``."""

    gamma: float | None
    contrast: tuple[float, float] | None
    """factor around the mean, and shift, in 0..1"""
    uneven: tuple[float, np.ndarray] | None
    """amount, and knots (1, 1, 3, 3, 3) float32 of a smooth field, -1..1"""
    blur: float | None
    """standard deviation in voxels"""
    coarser: float | None
    """share of the voxels on each axis"""
    noise: float | None
    """standard deviation, in 0..1"""


def draw_recolouring(rng: np.random.Generator) -> Recolouring:
    """Gamma, contrast, uneven brightness, blur or lower resolution, and noise, each with its probability."""
    gamma = np.exp(rng.uniform(-0.35, 0.35)) if rng.random() < 0.4 else None
    contrast = (rng.uniform(0.75, 1.3), rng.uniform(-0.08, 0.08)) if rng.random() < 0.4 else None
    uneven = None
    if rng.random() < 0.2:
        uneven = rng.uniform(0.1, 0.35), rng.uniform(-1, 1, (1, 1, 3, 3, 3)).astype(np.float32)
    blur = coarser = None
    if rng.random() < 0.2:
        blur = rng.uniform(0.3, 0.9)
    elif rng.random() < 0.15:
        coarser = rng.uniform(0.5, 0.85)
    noise = rng.uniform(0.01, 0.05) if rng.random() < 0.3 else None
    return Recolouring(gamma, contrast, uneven, blur, coarser, noise)


def intensity(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """``draw_recolouring`` done to ``image`` (D, H, W) float32 0..255.

    The result stays in that range, and 0 stays 0.
    """
    drawn = draw_recolouring(rng)
    outside = image == 0
    x = image / 255.0
    if drawn.gamma is not None:
        x = x**drawn.gamma
    if drawn.contrast is not None:
        x = (x - x.mean()) * drawn.contrast[0] + x.mean() + drawn.contrast[1]
    if drawn.uneven is not None:
        x = x * (1 + drawn.uneven[0] * smooth_field(torch.from_numpy(drawn.uneven[1]), x.shape).numpy())
    if drawn.blur is not None:
        x = gaussian_filter(x, drawn.blur)
    if drawn.coarser is not None:
        x = made_coarser(torch.from_numpy(x.astype(np.float32)), drawn.coarser).numpy()
    if drawn.noise is not None:
        x = x + rng.normal(0, drawn.noise, x.shape)
    x = np.clip(x, 0, 1) * 255.0
    x[outside] = 0
    return x.astype(np.float32)


def smooth_field(knots: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """A smooth field of ``shape`` (D, H, W) through knots (1, 1, 3, 3, 3), float32."""
    return F.interpolate(knots, tuple(shape), mode="trilinear", align_corners=True)[0, 0]


def made_coarser(x: torch.Tensor, share: float) -> torch.Tensor:
    """(D, H, W) float32 brought to a grid with ``share`` of the voxels on each axis and back, linearly."""
    small = [max(2, round(n * share)) for n in x.shape]
    y = F.interpolate(x[None, None], small, mode="trilinear")
    return F.interpolate(y, tuple(x.shape), mode="trilinear")[0, 0]
