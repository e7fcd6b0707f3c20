"""Augmentation of one sampled view: mirror, turn, intensity. Geometry before sampling is in ``views.py``."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

FLIP, TURN, TURN_RAD = 0.5, 0.4, 0.25
BEND, BEND_SHARE = 0.25, 0.05
"""Probability of an elastic deformation, and its largest displacement as a share of a side."""
BEND_KNOTS = 4
MIRROR = "mirror"
TURNED = ("pairs", "any")
"""Rules under which half turns about all axes occur."""


def draw_flips(rule: str, rng: np.random.Generator) -> tuple[int, ...]:
    """Axes to mirror under a set's rule.

    ``none``; ``pairs``, a half turn; ``any``; or ``mirror 2``: left and right lie along axis 2, mirrored
    with the sides swapped.
    """
    if rule.startswith(MIRROR):
        return (int(rule.removeprefix(MIRROR)),) if rng.random() < FLIP else ()
    if rule == "none":
        return ()
    if rule == "pairs":
        return tuple(sorted(rng.choice(3, 2, replace=False).tolist())) if rng.random() < FLIP else ()
    if rule == "any":
        return tuple(a for a in range(3) if rng.random() < FLIP)
    raise ValueError(f"flips is {rule!r}; wanted none, pairs, any or mirror AXIS")


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
    if knots is None:
        return values
    shape = values.shape[1:]
    shift = F.interpolate(knots, shape, mode="trilinear", align_corners=True)[0].permute(1, 2, 3, 0)
    grid = F.affine_grid(torch.eye(3, 4)[None], [1, 1, *shape], align_corners=False) + 2 * shift
    return F.grid_sample(values[None], grid, mode, "zeros", align_corners=False)[0]


def _smooth_field(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A smooth random field of ``shape``, within -1..1."""
    knots = torch.from_numpy(rng.uniform(-1, 1, (1, 1, 3, 3, 3)).astype(np.float32))
    return F.interpolate(knots, shape, mode="trilinear", align_corners=True)[0, 0].numpy()


def intensity(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gamma, contrast, uneven brightness, blur, lower resolution and noise on ``image`` float32 0..255.

    The result stays in that range, and 0 stays 0.
    """
    outside = image == 0
    x = image / 255.0
    if rng.random() < 0.4:
        x = x ** np.exp(rng.uniform(-0.35, 0.35))
    if rng.random() < 0.4:
        x = (x - x.mean()) * rng.uniform(0.75, 1.3) + x.mean() + rng.uniform(-0.08, 0.08)
    if rng.random() < 0.2:
        x = x * (1 + rng.uniform(0.1, 0.35) * _smooth_field(x.shape, rng))
    if rng.random() < 0.2:
        x = gaussian_filter(x, rng.uniform(0.3, 0.9))
    elif rng.random() < 0.15:
        x = _coarser(x, float(rng.uniform(0.5, 0.85)))
    if rng.random() < 0.3:
        x = x + rng.normal(0, rng.uniform(0.01, 0.05), x.shape)
    x = np.clip(x, 0, 1) * 255.0
    x[outside] = 0
    return x.astype(np.float32)


def _coarser(x: np.ndarray, share: float) -> np.ndarray:
    """(D, H, W) brought to a grid with ``share`` of the voxels on each axis and back, linearly."""
    small = [max(2, round(n * share)) for n in x.shape]
    y = F.interpolate(torch.from_numpy(x.astype(np.float32))[None, None], small, mode="trilinear")
    return F.interpolate(y, x.shape, mode="trilinear")[0, 0].numpy()
