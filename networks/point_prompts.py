"""Points, boxes and texts as tokens in a volume (Kirillov et al. 2023, appendix A), as SegVol has them.

Places are random Fourier features. As released, the first two axes are exchanged at two places, which do not
go together: a point's depth is divided by the window's height and its height by the window's depth, while the
image's own features have height before depth. Trained weights go with it.
"""

from __future__ import annotations

from collections import OrderedDict
from math import pi
from typing import cast

import torch
from torch import Tensor, nn

from vesal.networks.volume_vit import Triple

PADDING, BACKGROUND, FOREGROUND, FIRST_CORNER, SECOND_CORNER, TEXT = -1, 0, 1, 2, 3, 4
"""Kinds of tokens; the first has no place: a point that is none."""


class FourierPlaces(nn.Module):
    """Coordinates in 0..1 to sines and cosines of random projections."""

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(3, width // 2))

    def forward(self, places: Tensor) -> Tensor:
        """places (N, T, 3), or with other axes before the last one -> (N, T, width)."""
        angles = 2 * pi * ((2 * places - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat((angles.sin(), angles.cos()), -1)


class PromptEncoder(nn.Module):
    """Sparse prompts to tokens; a mask as prompt has weights, which are never used, as released."""

    def __init__(self, width: int, window_dhw: Triple, mask_width: int = 16) -> None:
        """``mask_width``: channels of the unused part for masks."""
        super().__init__()
        self.window_dhw = window_dhw
        self.pe_layer = FourierPlaces(width)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, width)
        small = mask_width // 4
        self.mask_downscaling = nn.Sequential(
            OrderedDict(
                {
                    "0": nn.Conv2d(1, small, 2, 2),
                    "1": nn.LayerNorm(small),
                    "3": nn.Conv2d(small, mask_width, 2, 2),
                    "4": nn.LayerNorm(mask_width),
                    "6": nn.Conv2d(mask_width, width, 1),
                }
            )
        )
        self.no_mask_embed = nn.Embedding(1, width)

    def forward(self, coordinates: Tensor, kinds: Tensor, text: Tensor) -> Tensor:
        """Tokens of N prompts, in the order given.

        Args:
            coordinates: (N, T, 3) float32, voxels of the window along d, h, w; anything where ``kinds`` has
                no place.
            kinds: (N, T) int64 of the kinds above.
            text: (N, C) float32; what stands where ``kinds`` is ``TEXT``.

        Returns:
            (N, T, C).
        """
        d, h, w = self.window_dhw
        # The axis quirk: depth over height, height over depth.
        places = (coordinates + 0.5) / torch.tensor([h, d, w], dtype=coordinates.dtype)
        has_place = ((kinds >= BACKGROUND) & (kinds <= SECOND_CORNER))[..., None]
        encoded = torch.where(has_place, self.pe_layer(places), torch.zeros(()))
        points = [cast(Tensor, embedding.weight) for embedding in self.point_embeddings]
        nothing = torch.zeros_like(self.not_a_point_embed.weight)
        table = torch.cat((self.not_a_point_embed.weight, *points, nothing))
        is_text = (kinds == TEXT)[..., None].to(text.dtype)
        return encoded + table[kinds + 1] + is_text * text[:, None]

    def dense_places(self, grid_dhw: Triple) -> Tensor:
        """Features of the places of all patches, (1, S, C)."""
        d, h, w = ((torch.arange(n, dtype=torch.float32) + 0.5) / n for n in grid_dhw)
        depth, height, width = torch.meshgrid(d, h, w, indexing="ij")
        found: Tensor = self.pe_layer(torch.stack((height, depth, width), -1))
        return found.flatten(0, 2)[None]


def sparse_tokens(
    points: Tensor | None = None,
    labels: Tensor | None = None,
    box: Tensor | None = None,
    with_text: bool = False,
) -> tuple[Tensor, Tensor]:
    """Prompts as coordinates and kinds, in the order of the released code.

    Args:
        points: (N, K, 3) float32, voxels of the window.
        labels: (N, K) of them: 1 foreground, 0 background, -1 none.
        box: (N, 6) float32: lowest, then highest voxel.
        with_text: whether a text comes last.

    Returns:
        (N, T, 3) and (N, T) int64, as ``PromptEncoder.forward`` takes them. Points without a box are followed
        by a padding point.
    """
    places: list[Tensor] = []
    kinds: list[Tensor] = []
    prompts = next((len(given) for given in (points, box) if given is not None), 1)

    def add(coordinates: Tensor, *each: int) -> None:
        places.append(coordinates)
        kinds.append(torch.tensor(each).expand(prompts, -1))

    nowhere = torch.zeros(prompts, 1, 3)
    if points is not None and labels is not None:
        places.append(points)
        kinds.append(labels.long())
        if box is None:
            add(nowhere, PADDING)
    if box is not None:
        add(box.unflatten(1, (2, 3)), FIRST_CORNER, SECOND_CORNER)
    if with_text:
        add(nowhere, TEXT)
    return torch.cat(places, 1), torch.cat(kinds, 1)
