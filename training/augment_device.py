"""The augmentation of ``augment.py`` where a view lies on a GPU: the same draws, computed there.

Noise is drawn there too, so that a view on a GPU is not the processor's bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vesal.training.augment import draw_recolouring, made_coarser, smooth_field
from vesal.training.blur import blurred
from vesal.training.device import moved


def intensity_on(image: Tensor, rng: np.random.Generator) -> Tensor:
    """``augment.intensity`` of a view (D, H, W) float32 0..255 on its device."""
    drawn = draw_recolouring(rng)
    x = image / 255.0
    if drawn.gamma is not None:
        x = x ** float(drawn.gamma)
    if drawn.contrast is not None:
        mean = x.mean()
        x = (x - mean) * drawn.contrast[0] + mean + drawn.contrast[1]
    if drawn.uneven is not None:
        knots = moved(torch.from_numpy(drawn.uneven[1]), x.device)
        x = x * (1 + drawn.uneven[0] * smooth_field(knots, x.shape))
    if drawn.blur is not None:
        x = blurred(x, drawn.blur)
    if drawn.coarser is not None:
        x = made_coarser(x, drawn.coarser)
    if drawn.noise is not None:
        x = x + drawn.noise * noise_on(x.shape, int(rng.integers(2**62)), x.device)
    return torch.where(image == 0, 0.0, x.clamp(0, 1) * 255.0)


def noise_on(shape: Sequence[int], seed: int, device: torch.device) -> Tensor:
    """Normal noise of ``shape``, float32, drawn on a device: each kind of device has numbers of its own."""
    source = torch.Generator(device).manual_seed(seed)
    return torch.randn(tuple(shape), generator=source, device=device)


def channels_on(image: Tensor, statistics: tuple[float, float]) -> Tensor:
    """``network_input.image_channels`` of a view (d, h, w) on its device: (2, d, h, w)."""
    mean, std = statistics
    return torch.stack([image / 127.5 - 1.0, (image - mean) / std])
