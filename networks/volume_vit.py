"""Vision transformer on the patches of a volume (Dosovitskiy et al. 2021, section 3.1), as MONAI has it.

SegVol's image encoder (Du et al. 2024, section 3.1), as released: learned positions, which fix the window's
size, pre-norm blocks, no class token, queries, keys and values without bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from vesal.networks.sat import count_names

Triple = tuple[int, int, int]


@dataclass(frozen=True)
class VitSizes:
    """Sizes of the encoder; the published ones are ``VOLUME_VIT``."""

    grid_dhw: Triple
    """Patches along each axis."""
    patch_dhw: Triple
    """Voxels of a patch along each axis."""
    width: int
    inner: int
    layers: int
    heads: int
    """No tensor's shape tells it."""

    @property
    def window_dhw(self) -> Triple:
        """Voxels of the only window that the encoder takes."""
        d, h, w = (n * size for n, size in zip(self.grid_dhw, self.patch_dhw, strict=True))
        return d, h, w


VOLUME_VIT = VitSizes((8, 16, 16), (4, 16, 16), 768, 3072, 12, 12)


class SelfAttention(nn.Module):
    """Attention of all patches to all."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, S, width) -> (B, S, width)."""
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        scores = q @ k.transpose(2, 3) * (q.shape[-1] ** -0.5)
        attended: Tensor = self.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
        return attended


class FeedForward(nn.Module):
    """Two layers with an exact GELU between them."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, S, width) -> (B, S, width)."""
        encoded: Tensor = self.linear2(nn.functional.gelu(self.linear1(x)))
        return encoded


class VitBlock(nn.Module):
    """Pre-norm attention, then a feed-forward block, both with a shortcut."""

    def __init__(self, sizes: VitSizes) -> None:
        super().__init__()
        self.mlp = FeedForward(sizes.width, sizes.inner)
        self.norm1, self.norm2 = nn.LayerNorm(sizes.width), nn.LayerNorm(sizes.width)
        self.attn = SelfAttention(sizes.width, sizes.heads)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, S, width) -> (B, S, width)."""
        x = x + self.attn(self.norm1(x))
        encoded: Tensor = x + self.mlp(self.norm2(x))
        return encoded


class PatchEmbedding(nn.Module):
    """A window to its patches, each a vector with its place."""

    def __init__(self, sizes: VitSizes) -> None:
        super().__init__()
        self.sizes = sizes
        d, h, w = sizes.patch_dhw
        # Number 0 cut the window up in the released code, and has no weights.
        self.patch_embeddings = nn.Sequential(nn.Identity(), nn.Linear(d * h * w, sizes.width))
        places = sizes.grid_dhw[0] * sizes.grid_dhw[1] * sizes.grid_dhw[2]
        self.position_embeddings = nn.Parameter(torch.empty(1, places, sizes.width))
        nn.init.trunc_normal_(self.position_embeddings, std=0.02)

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 1, d, h, w) -> (B, S, width), patches in the order of their voxels."""
        split = image[:, 0]
        for axis in (2, 1, 0):
            split = split.unflatten(axis + 1, (self.sizes.grid_dhw[axis], self.sizes.patch_dhw[axis]))
        patches = split.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(1, 3)
        embedded: Tensor = self.patch_embeddings(patches) + self.position_embeddings
        return embedded


class VolumeVit(nn.Module):
    """A window of fixed size to one vector a patch."""

    def __init__(self, sizes: VitSizes = VOLUME_VIT) -> None:
        super().__init__()
        self.sizes = sizes
        self.patch_embedding = PatchEmbedding(sizes)
        self.blocks = nn.ModuleList(VitBlock(sizes) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(sizes.width)

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 1, d, h, w) -> (B, S, width).

        Raises:
            ValueError: the window has another size than that which the network was trained with.
        """
        if tuple(image.shape[1:]) != (1, *self.sizes.window_dhw):
            raise ValueError(
                f"image has shape {tuple(image.shape)}; wanted is (B, 1, "
                f"{', '.join(map(str, self.sizes.window_dhw))}): positions are those of this window alone."
            )
        x = self.patch_embedding(image)
        for block in cast(nn.ModuleList, self.blocks):
            x = block(x)
        encoded: Tensor = self.norm(x)
        return encoded


def vit_sizes_of(
    shapes: Mapping[str, tuple[int, ...]], grid_dhw: Triple, patch_dhw: Triple, heads: int
) -> VitSizes:
    """Sizes of an encoder from the shapes of its tensors, named as in these modules.

    Args:
        shapes: by name.
        grid_dhw: patches along each axis; these shapes tell only how many there are.
        patch_dhw: voxels of a patch; these shapes tell only how many there are.
        heads: of the attention.

    Raises:
        KeyError: a tensor that tells a size is not there.
    """
    inner, width = shapes["blocks.0.mlp.linear1.weight"]
    layers = count_names(shapes, "blocks.{}.norm1.weight")
    return VitSizes(grid_dhw, patch_dhw, width, inner, layers, heads)
