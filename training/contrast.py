"""Contrasts that no training set shows: for other scanners and sequences, above all in MR.

An organ's shape stays and its grey levels change, so the network learns to go by shape and by edges rather
than by one sequence's intensities: random curves over the grey levels (monotone ones, as of another window or
flip angle, and others, as where blood and muscle change places), structures that are moved apart by their
labels, a bias field, coarser resolution, and noise and ghosts of k-space. ``augment.intensity`` follows, as
for any view; there changes are small.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vesal.training.augment import smooth_field
from vesal.training.augment_device import noise_on
from vesal.training.device import moved

CURVE, MONOTONE, BLENDED = 0.7, 0.4, (0.6, 1.0)
"""Share of views with a curve, how many of them are monotone, and the curve's part beside the image."""
KNOTS = (3, 7)
TISSUES, SHIFT, TEXTURE = 0.5, 0.3, 0.3
"""Share of views whose labels get values of their own, and the standard deviations of a label's shift (of a
range of 1) and of the factor, as a logarithm, on its texture."""
BIAS, BIAS_LOG = 0.4, 0.6
"""Share with a bias field, and its largest logarithm."""
COARSE, COARSEST = 0.25, 0.35
NOISE, NOISE_STD = 0.3, 0.06
GHOSTS, GHOST = 0.1, 0.25
"""Share of views with ghosts, and the strongest."""
MOST_SEEN = 50_000
"""Voxels that quantiles are taken of, about."""
SPREAD = 0.1
"""Distance between the 10th and 90th percentile (of a range of 1) below which a curve has left too little to
see, so it is not taken."""


def randomised(
    image: Tensor, labels: Tensor, share: float, rng: np.random.Generator, thick: int = 0
) -> Tensor:
    """Another contrast for a ``share`` of the views.

    Args:
        image: (D, H, W) float32, 0..255.
        labels: (D, H, W) float, whole numbers, on the same device; 0 is what is not labelled.
        share: 0 draws nothing of ``rng``.
        rng: source of all that is drawn.
        thick: the axis across the slices.

    Returns:
        (D, H, W) float32, 0..255; 0 stays 0. The same object where the contrast stays.
    """
    if share <= 0 or rng.random() >= share:
        return image
    inside = image > 0
    if not inside.any():
        return image
    x = image / 255
    x = _tissues(x, labels, rng)
    x = _curve(x, inside, rng)
    if rng.random() < BIAS:
        knots = torch.from_numpy(rng.uniform(-1, 1, (1, 1, 3, 3, 3)).astype(np.float32))
        x = x * (BIAS_LOG * smooth_field(moved(knots, x.device), x.shape)).exp()
    if rng.random() < COARSE:
        x = _coarser(x, rng)
    if rng.random() < GHOSTS:
        x = _ghosts(x, thick, rng)
    if rng.random() < NOISE:
        x = _rician(x, float(rng.uniform(0.2, 1)) * NOISE_STD, rng)
    return _in_range(x, inside) * 255 * inside


def moved_statistics(statistics: tuple[float, float], before: Tensor, after: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of a volume of which a view (D, H, W) got another contrast.

    The volume's would change as the view's do.
    """
    mean, std = statistics
    scale = float(after.std(correction=0)) / max(float(before.std(correction=0)), 1e-6)
    return float(after.mean()) + (mean - float(before.mean())) * scale, std * scale


def _tissues(x: Tensor, labels: Tensor, rng: np.random.Generator) -> Tensor:
    """Every label moved to another mean, with more or less texture; edges stay partial volume."""
    if rng.random() >= TISSUES:
        return x
    for label in torch.unique(labels).tolist():
        shift, texture = float(rng.normal(0, SHIFT)), float(np.exp(rng.normal(0, TEXTURE)))
        mask = labels == label
        if label == 0 or not mask.any():
            continue
        mean = x[mask].mean()
        weight = F.avg_pool3d(mask[None].float(), 3, 1, 1, count_include_pad=False)[0]
        x = x + weight * (shift + (texture - 1) * (x - mean))
    return x


def _curve(x: Tensor, inside: Tensor, rng: np.random.Generator) -> Tensor:
    """Grey levels along a random curve through a few knots, which lie where there are voxels."""
    if rng.random() >= CURVE:
        return x
    knots = int(rng.integers(*KNOTS, endpoint=True))
    monotone, part = rng.random() < MONOTONE, float(rng.uniform(*BLENDED))
    heights = rng.uniform(0, 1, knots)
    if monotone:
        heights.sort()
    seen = _some(x[inside])
    even = torch.linspace(float(seen.min()), float(seen.max()), knots, device=x.device)
    # Between evenly over the range and evenly over the voxels, of which most are dark.
    at = (even + seen.quantile(torch.linspace(0, 1, knots, device=x.device))) / 2
    curved = _interpolated(x, at, moved(torch.from_numpy(heights.astype(np.float32)), x.device))
    mixed = part * curved + (1 - part) * x
    low, high = _some(mixed[inside]).quantile(torch.tensor([0.1, 0.9], device=x.device)).tolist()
    return mixed if high - low > SPREAD else x


def _some(values: Tensor) -> Tensor:
    """Every so many of (n,) values: enough for quantiles."""
    return values[:: 1 + len(values) // MOST_SEEN]


def _interpolated(x: Tensor, at: Tensor, heights: Tensor) -> Tensor:
    """``heights`` (k,) at the ascending places ``at``, linear between them and even beyond."""
    right = torch.bucketize(x, at).clamp(1, len(at) - 1)
    share = ((x - at[right - 1]) / (at[right] - at[right - 1]).clamp_min(1e-6)).clamp(0, 1)
    return heights[right - 1] + share * (heights[right] - heights[right - 1])


def _coarser(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Brought to fewer voxels, by a factor of its own along each axis, and back."""
    small = [max(2, round(n * float(rng.uniform(COARSEST, 1)))) for n in x.shape]
    y = F.interpolate(x[None, None], small, mode="trilinear")
    return F.interpolate(y, tuple(x.shape), mode="trilinear")[0, 0]


def _ghosts(x: Tensor, thick: int, rng: np.random.Generator) -> Tensor:
    """Copies along an in-plane axis: every few lines of k-space are weaker, as where something moved."""
    axis = int(rng.choice([a for a in range(3) if a != thick]))
    every, weaker = int(rng.integers(2, 5)), float(rng.uniform(0.3, 1)) * GHOST
    lines = torch.fft.fft(x, dim=axis)
    factor = torch.ones(x.shape[axis], device=x.device)
    factor[1::every] = 1 - weaker
    shape = [-1 if a == axis else 1 for a in range(3)]
    return torch.fft.ifft(lines * factor.reshape(shape), dim=axis).abs()


def _rician(x: Tensor, std: float, rng: np.random.Generator) -> Tensor:
    """Magnitude of a complex image with noise in both parts: what MR shows (Gudbjartsson and Patz 1995)."""
    real, imaginary = (std * noise_on(x.shape, int(rng.integers(2**62)), x.device) for _ in range(2))
    return torch.hypot(x + real, imaginary)


def _in_range(x: Tensor, inside: Tensor) -> Tensor:
    """To 0..1 between the percentiles that the challenge's npz are made with."""
    low, high = _some(x[inside]).quantile(torch.tensor([0.005, 0.995], device=x.device)).tolist()
    return ((x - low) / max(high - low, 1e-6)).clamp(0, 1)
