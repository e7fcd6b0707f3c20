"""Augmentation of one sampled view: mirror, turn, intensity. Geometry before sampling is in ``views.py``."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

FLIP, TURN, TURN_RAD = 0.5, 0.5, 0.2


def draw_flips(rule: str, rng: np.random.Generator) -> tuple[int, ...]:
    """Axes to mirror under a set's rule: ``none``, ``pairs`` (a half turn) or ``any``."""
    if rule == "none":
        return ()
    if rule == "pairs":
        return tuple(sorted(rng.choice(3, 2, replace=False).tolist())) if rng.random() < FLIP else ()
    if rule == "any":
        return tuple(a for a in range(3) if rng.random() < FLIP)
    raise ValueError(f"flips is {rule!r}; wanted none, pairs or any")


def draw_turn(degree: int, rng: np.random.Generator) -> tuple[int, float]:
    """Axis and angle (rad) of a small turn, about the thick axis where there is one; often no turn."""
    axis = 0 if degree else int(rng.integers(3))
    return axis, float(rng.uniform(-TURN_RAD, TURN_RAD)) if rng.random() < TURN else 0.0


def turn(values: torch.Tensor, axis: int, angle: float, mode: str = "bilinear") -> torch.Tensor:
    """Turn (C, D, H, W) float about ``axis`` by ``angle`` (rad) in voxel units; 0 comes in from outside."""
    if angle == 0.0:
        return values
    shape = values.shape[1:]
    a, b = (x for x in range(3) if x != axis)
    matrix = torch.eye(3)
    ratio = shape[b] / shape[a]
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle) * ratio, np.sin(angle) / ratio
    # grid_sample's coordinates run (x, y, z), the array's (D, H, W).
    theta = torch.cat([matrix.flip(0, 1), torch.zeros(3, 1)], 1)[None]
    grid = F.affine_grid(theta, [1, 1, *shape], align_corners=False)
    return F.grid_sample(values[None], grid, mode, "zeros", align_corners=False)[0]


def intensity(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gamma, contrast, blur and noise on ``image`` float32 0..255; stays in that range, and 0 stays 0."""
    outside = image == 0
    x = image / 255.0
    if rng.random() < 0.5:
        x = x ** np.exp(rng.uniform(-0.35, 0.35))
    if rng.random() < 0.5:
        x = (x - x.mean()) * rng.uniform(0.75, 1.3) + x.mean() + rng.uniform(-0.08, 0.08)
    if rng.random() < 0.2:
        x = gaussian_filter(x, rng.uniform(0.3, 0.9))
    if rng.random() < 0.3:
        x = x + rng.normal(0, rng.uniform(0.01, 0.05), x.shape)
    x = np.clip(x, 0, 1) * 255.0
    x[outside] = 0
    return x.astype(np.float32)
