"""SPAD-ViT: a vision transformer with patches as thick as slices ask for (SPAD-Nets 4.4, Luo et al. 2023).

Patches are embedded by a spatially adaptive convolution, so that a network has one set of weights for every
slice thickness. Blocks are those of EVA-02 (Fang et al. 2023): pre-norm, SwiGLU with a norm inside, rotary
positions (``rotary.py``); besides, learned absolute positions are resampled to the grid of patches, as
released. Names of parameters are the published ones, and recorded outputs of the published code are met.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesal.networks.names import count_names
from vesal.networks.rotary import Grid, Rotary, turned_pairs
from vesal.networks.spad import Anisotropy, SpadConv

NORM_EPS = 1e-5
HEAD_WIDTH, LEAST_HEADS = 64, 2
"""Channels of a head in the published networks; reduced ones have no fewer than so many heads."""
OWN_NAME = re.compile(
    r"(cls_token|pos_embed|(patch_embed\.proj|norm)\.(weight|bias)"
    r"|blocks\.\d{1,4}\.(norm[12]\.(weight|bias)|attn\.([qv]_bias|[qkv]_proj\.weight|proj\.(weight|bias))"
    r"|mlp\.(w[123]|ffn_ln)\.(weight|bias)))$"
)
"""Parameters of a backbone; a published file also holds those of the pre-training's head."""
Rotation = tuple[Tensor, Tensor]
"""Cosine and sine of the angle of each pair of channels of a head, by token: (S, head / 2) each."""


@dataclass(frozen=True)
class SpadVitSizes:
    """Sizes of a backbone; the published ones are ``SPAD_VIT_B`` and ``SPAD_VIT_L``."""

    channels: int
    """Of the image."""
    width: int
    inner: int
    """Of the feed-forward blocks."""
    layers: int
    heads: int
    """No tensor's shape tells it."""
    patch: int = 16
    """Side of a patch where the degree of anisotropy is 0, a power of two."""
    positions_dhw: Grid = (5, 10, 10)
    """Grid of the learned positions."""
    rotary: Rotary = Rotary()

    @property
    def times(self) -> int:
        """How often a patch halves the plane."""
        return self.patch.bit_length() - 1

    def patch_dhw(self, degree: int) -> Grid:
        """Voxels of a patch at a degree of anisotropy."""
        return Anisotropy(degree).depth_stride_down(self.times), self.patch, self.patch


SPAD_VIT_B = SpadVitSizes(3, 768, 2048, 12, 12)
SPAD_VIT_L = SpadVitSizes(3, 1024, 2730, 24, 16)


class PatchEmbedding(nn.Module):
    """Only a level in the names."""

    def __init__(self, sizes: SpadVitSizes) -> None:
        super().__init__()
        self.proj = SpadConv(sizes.channels, sizes.width, sizes.patch, sizes.patch)


class RotaryAttention(nn.Module):
    """Attention of all tokens to all; queries and values have a bias, keys have none."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.q_bias, self.v_bias = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)
        self.turn = turned_pairs

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """x (B, S, width) -> (B, S, width)."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.q_proj(x) + self.q_bias, self.k_proj(x), self.v_proj(x) + self.v_bias)
        )
        attended = F.scaled_dot_product_attention(self.turn(q, *rotation), self.turn(k, *rotation), v)
        projected: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return projected


class SwiGlu(nn.Module):
    """``w3(LN(silu(w1 x) * w2 x))``, as EVA-02 has it."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.w1, self.w2 = nn.Linear(width, inner), nn.Linear(width, inner)
        self.ffn_ln = nn.LayerNorm(inner, NORM_EPS)
        self.w3 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, S, width) -> (B, S, width)."""
        encoded: Tensor = self.w3(self.ffn_ln(F.silu(self.w1(x)) * self.w2(x)))
        return encoded


class SpadVitBlock(nn.Module):
    """Pre-norm attention, then a feed-forward block, both with a shortcut."""

    def __init__(self, sizes: SpadVitSizes) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(sizes.width, NORM_EPS)
        self.attn = RotaryAttention(sizes.width, sizes.heads)
        self.norm2 = nn.LayerNorm(sizes.width, NORM_EPS)
        self.mlp = SwiGlu(sizes.width, sizes.inner)

    def forward(self, x: Tensor, rotation: Rotation) -> Tensor:
        """x (B, S, width) -> (B, S, width)."""
        x = x + self.attn(self.norm1(x), rotation)
        encoded: Tensor = x + self.mlp(self.norm2(x))
        return encoded


class SpadVit(nn.Module):
    """The backbone: a volume of any size and degree of anisotropy to one vector a patch."""

    def __init__(self, sizes: SpadVitSizes = SPAD_VIT_B) -> None:
        super().__init__()
        self.sizes = sizes
        self.patch_embed = PatchEmbedding(sizes)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, sizes.width, *sizes.positions_dhw))
        self.blocks = nn.ModuleList(SpadVitBlock(sizes) for _ in range(sizes.layers))
        self.norm = nn.LayerNorm(sizes.width, NORM_EPS)
        for values in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(values, std=0.02)

    def embed(self, image: Tensor, at: Anisotropy) -> tuple[Tensor, Anisotropy]:
        """image (B, C, D, H, W) -> patches without their positions (B, width, d, h, w), and where they are.

        Sides are multiples of those of a patch; what is left over is not seen.

        Raises:
            ValueError: no whole patch, or another number of channels.
        """
        sides = self.sizes.patch_dhw(at.pending)
        if not torch.jit.is_tracing():
            fits = all(n >= side for n, side in zip(image.shape[2:], sides, strict=True))
            if image.ndim != 5 or image.shape[1] != self.sizes.channels or not fits:
                raise ValueError(
                    f"image has shape {tuple(image.shape)}; wanted is (B, {self.sizes.channels}, D, H, W) "
                    f"with at least {sides} voxels, a patch at degree of anisotropy {at.pending}."
                )
        embedded: tuple[Tensor, Anisotropy] = self.patch_embed.proj(image, at)
        return embedded

    def hidden(self, patches: Tensor, after: Sequence[int] = ()) -> tuple[list[Tensor], Tensor]:
        """Run all blocks.

        Args:
            patches: (B, width, d, h, w) of ``embed``, some of them masked for pre-training.
            after: numbers of blocks, from 0, whose output is wanted; none after the last one.

        Returns:
            that of each wanted block, and of the last: (B, 1 + d * h * w, width), not normed, class first.
        """
        grid = cast(Grid, tuple(patches.shape[2:]))
        angles = self.angles(grid, patches.device)
        rotation = angles.cos(), angles.sin()
        tokens = (patches + resampled(self.pos_embed, grid)).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], 1)
        wanted = {}
        for number, block in enumerate(self.blocks):
            x = block(x, rotation)
            wanted[number] = x
        return [wanted[number] for number in after], x

    def forward(self, image: Tensor, at: Anisotropy) -> Tensor:
        """image (B, C, D, H, W) -> normed tokens (B, 1 + d * h * w, width), the class first."""
        patches, _ = self.embed(image, at)
        normed: Tensor = self.norm(self.hidden(patches)[1])
        return normed

    def features(
        self, image: Tensor, at: Anisotropy, after: Sequence[int]
    ) -> tuple[list[Tensor], Anisotropy]:
        """Feature maps (B, width, d, h, w) after some blocks, counted from 0, not normed; where they are."""
        patches, there = self.embed(image, at)
        wanted, _ = self.hidden(patches, after)
        return [on_grid(x, patches) for x in wanted], there

    def angles(self, grid_dhw: Grid, device: torch.device | None = None) -> Tensor:
        """Angles (1 + S, head / 2) of all tokens; the class is not turned."""
        placed = self.sizes.rotary.angles(grid_dhw, self.sizes.width // self.sizes.heads, device)
        return torch.cat([torch.zeros_like(placed[:1]), placed])


def on_grid(tokens: Tensor, patches: Tensor) -> Tensor:
    """tokens (B, 1 + S, C), the class first -> (B, C, d, h, w) as ``patches`` lie."""
    # Not unflattened: the exporter would take the example's sides for those of every volume.
    return tokens[:, 1:].transpose(1, 2).reshape(tokens.shape[0], -1, *patches.shape[2:])


def resampled(positions: Tensor, grid_dhw: Grid) -> Tensor:
    """Learned positions (1, C, D, H, W) on another grid, as released.

    An axis that is to have fewer places gets the means of those that fall into each (area interpolation), one
    that is to have more a linear interpolation without aligned corners. Both are products with a matrix, axis
    by axis, so that a graph takes grids that are not known when it is exported.
    """
    d, h, w = (
        _axis_matrix(stored, side, positions)
        for stored, side in zip(positions.shape[2:], grid_dhw, strict=True)
    )
    plane = h @ positions @ w.T
    return (d @ plane.flatten(3)).unflatten(3, plane.shape[3:])


def _axis_matrix(stored: int, side: int, like: Tensor) -> Tensor:
    """What each of ``side`` places takes of ``stored`` ones, (side, stored), each row of sum 1."""
    if not torch.jit.is_tracing() and side == stored:
        return torch.eye(stored, dtype=like.dtype, device=like.device)
    to = torch.arange(side, device=like.device)[:, None]
    places = torch.arange(stored, device=like.device)[None]
    first = to * stored // side
    last = ((to + 1) * stored + side - 1) // side
    inside = ((places >= first) & (places < last)).to(like.dtype)
    area = inside / inside.sum(1, keepdim=True)
    # Beyond the middle of the outermost places their own value holds.
    middle = ((to.to(like.dtype) + 0.5) * stored / side - 0.5).clamp(0, stored - 1)
    linear = (1 - (middle - places).abs()).clamp(min=0)
    # A comparison of tensors: an export would keep that of two numbers for every grid.
    return torch.where(to[-1:] + 1 < stored, area, linear)


def spad_vit_sizes_of(shapes: Mapping[str, tuple[int, ...]], heads: int | None = None) -> SpadVitSizes:
    """Sizes of a backbone from the shapes of its tensors, named as in these modules.

    Args:
        shapes: by name.
        heads: of the attention; None: as wide as those of the published networks, for no shape tells it.

    Raises:
        KeyError: a tensor that tells a size is not there.
    """
    width, channels, *patch = shapes["patch_embed.proj.weight"]
    _, _, d, h, w = shapes["pos_embed"]
    if len(set(patch)) != 1 or len(patch) != 3:
        raise ValueError(f"patches of {'x'.join(map(str, patch))} voxels; wanted are three equal sides.")
    return SpadVitSizes(
        channels=channels,
        width=width,
        inner=shapes["blocks.0.mlp.w1.weight"][0],
        layers=count_names(shapes, "blocks.{}.norm1.weight"),
        heads=heads or heads_of(width),
        patch=patch[0],
        positions_dhw=(d, h, w),
    )


def heads_of(width: int) -> int:
    """Heads of a backbone of this width: 12 of B, 16 of L."""
    return max(LEAST_HEADS, width // HEAD_WIDTH)


def own_names(names: Iterable[str]) -> list[str]:
    """Those that are a backbone's; a published file also has others."""
    return [name for name in names if OWN_NAME.match(name)]


def random_vit(sizes: SpadVitSizes, seed: int) -> SpadVit:
    """A backbone with random weights, always the same ones for a seed."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return SpadVit(sizes).eval()
