"""Sine positions of a two-dimensional grid, as DETR has them (Carion et al. 2020, appendix A.4)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

PERIOD = 10000.0
"""Base of the rates (Vaswani et al. 2017, section 3.5)."""
EPSILON = 1e-6
"""Added to the side that positions are divided by, in DETR."""


def sine_positions(height: int, width: int, channels: int) -> Tensor:
    """Positions of a grid, normalised: the last row and column lie at 2 pi whatever the size.

    Args:
        height: rows.
        width: columns.
        channels: a multiple of 4. The first half counts along the rows, the second along the columns, sine
            and cosine alternating.

    Returns:
        (height * width, channels) float32, row by row.
    """
    half = channels // 2
    rate = PERIOD ** (-2 * torch.div(torch.arange(half), 2, rounding_mode="floor").float() / half)

    def along(side: int) -> Tensor:
        place = torch.arange(1, side + 1, dtype=torch.float32) / (side + EPSILON) * (2 * math.pi)
        angle = place[:, None] * rate
        return torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], -1).flatten(1)

    rows = along(height)[:, None].expand(-1, width, -1)
    columns = along(width)[None].expand(height, -1, -1)
    return torch.cat([rows, columns], -1).flatten(0, 1)
