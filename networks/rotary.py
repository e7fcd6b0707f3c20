"""Additive 3D rotary position embedding (SPAD-Nets, Luo et al. 2023, appendix A.2).

Pairs of channels of queries and keys are turned by an angle that hangs on the place of their patch, so that
products of both hang on how far two patches lie apart (relativity). The first half of the pairs is turned by
the row and the second by the column, as in the 2D form (equation 6), and both by the slice as well (equations
10 and 11): at slice 0 nothing differs from 2D. That rows come first is as released; the paper begins with x.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Grid = tuple[int, int, int]


@dataclass(frozen=True)
class Rotary:
    """How fast angles grow."""

    plane_base: float = 10000.0
    """b_x and b_y."""
    depth_base: float = 2333.0
    """b_z; less than b_x, so that slices come to lie farther apart than rows do."""
    rescaled_dhw: tuple[float, float, float] = (-1.0, -1.0, -1.0)
    """Places are counted as if so many patches lay along an axis; below 0: as many as there are."""

    def frequencies(self, head: int) -> tuple[Tensor, Tensor]:
        """Angles a place adds, in radian.

        Args:
            head: d, channels of a head, a multiple of 4; a half of it is what one axis turns.

        Returns:
            depth: ``depth_base ** (-(2i + 1) / (d / 2))``, (d/4,) float32 for i = 0, 1, and so on.
            plane: ``plane_base ** (-2i / (d / 2))``, likewise.
        """
        if head % 4:
            raise ValueError(f"a head has {head} channels; wanted is a multiple of 4: two pairs, two axes.")
        even = torch.arange(0, head // 2, 2, dtype=torch.float32) / (head // 2)
        odd = torch.arange(1, head // 2 + 1, 2, dtype=torch.float32) / (head // 2)
        return self.depth_base**-odd, self.plane_base**-even

    def angles(self, grid_dhw: Grid, head: int, device: torch.device | None = None) -> Tensor:
        """Angle of each pair of channels at each patch, slices first: (D * H * W, head / 2) float32 radian.

        Sides of the grid may be numbers that an export traces.
        """
        depth, plane = (values.to(device) for values in self.frequencies(head))
        places = [
            torch.arange(side, device=device) * (wanted / side if wanted > 0 else 1.0)
            for side, wanted in zip(grid_dhw, self.rescaled_dhw, strict=True)
        ]
        z, y, x = (place.to(plane.dtype)[:, None] for place in places)
        d, h, w = (place.shape[0] for place in places)
        rows = (y * plane)[None, :, None].expand(d, h, w, -1)
        columns = (x * plane)[None, None].expand(d, h, w, -1)
        slices = (z * torch.cat([depth, depth], -1))[:, None, None]
        return (torch.cat([rows, columns], -1) + slices).flatten(0, 2)


def turned(x: Tensor, angles: Tensor) -> Tensor:
    """Turn neighbouring channels (2i, 2i + 1) of x (..., S, d) by angles (S, d / 2) (equations 4 and 5)."""
    return turned_pairs(x, angles.cos(), angles.sin())


def turned_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """As ``turned``, with cosine and sine (S, d / 2) of the angles, which all blocks share."""
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.stack([first * cos - second * sin, second * cos + first * sin], -1).flatten(-2)


def turned_halves(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """As ``turned_pairs``, x (B, S, d) in the order of ``halves_first``, cos and sin (S, d / 2)."""
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def halves_first(head: int) -> Tensor:
    """Order of the channels of a head that has the first of each pair in its first half, (head,) int64.

    Queries and keys in this order have the same products, and a graph need not take pairs apart.
    """
    return torch.cat([torch.arange(0, head, 2), torch.arange(1, head, 2)])
