"""FocalNet: a pyramid of features of images by focal modulation instead of attention.

Architecture: focal modulation networks (Yang et al. 2022, section 3), as the backbone of BiomedParse-V as
released: overlapping convolutions as patch embedding, post-norm with layer scale, the modulator divided by
its number of levels. Parameter names are the published ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vesal.networks.sat import count_names

STEM_STRIDE = 4
STRIDE = 2
"""Of the downsampling between two stages."""


@dataclass(frozen=True)
class FocalSizes:
    """Sizes of a FocalNet; those of BiomedParse-V are ``FOCAL_LARGE``."""

    channels: int
    """Of the image."""
    width: int
    """Channels of the first stage; each further stage has twice as many."""
    depths: tuple[int, ...]
    """Blocks of each stage."""
    kernels: tuple[int, ...]
    """Sides of the depthwise kernels, one for each focal level."""
    mlp_ratio: int
    """Inner width of the feed-forward block over its width."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.width << stage for stage in range(len(self.depths)))


FOCAL_LARGE = FocalSizes(3, 192, (2, 2, 18, 2), (3, 5, 7, 9), 4)


class PatchEmbed(nn.Module):
    """A strided convolution with a norm. A side that is no multiple of the stride is padded with zeros at its
    end (right, bottom), so that ``ceil(side / stride)`` patches cover it.
    """

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        kernel, padding = (7, 2) if stride == STEM_STRIDE else (3, 1)
        self.stride = stride
        self.proj = nn.Conv2d(channels, width, kernel, stride, padding)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C, H, W) -> (B, H', W', width), sides divided by the stride and rounded up."""
        down, right = (-side % self.stride for side in x.shape[2:])
        if down or right:
            x = functional.pad(x, (0, right, 0, down))
        embedded: Tensor = self.norm(self.proj(x).permute(0, 2, 3, 1))
        return embedded


class FocalModulation(nn.Module):
    """Each position is multiplied with a summary of its surroundings, gathered level by level."""

    def __init__(self, width: int, kernels: tuple[int, ...]) -> None:
        super().__init__()
        self.parts = [width, width, len(kernels) + 1]
        self.f = nn.Linear(width, sum(self.parts))
        self.h = nn.Conv2d(width, width, 1)
        self.proj = nn.Linear(width, width)
        self.focal_layers = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, k, padding=k // 2, groups=width, bias=False),
                nn.GELU(),
            )
            for k in kernels
        )

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) -> (B, H, W, C)."""
        query, context, gates = self.f(x).split(self.parts, -1)
        context, gates = context.permute(0, 3, 1, 2), gates.permute(0, 3, 1, 2)
        gathered = torch.zeros_like(context)
        for level, layer in enumerate(self.focal_layers):
            context = layer(context)
            gathered = gathered + context * gates[:, level : level + 1]
        everywhere = functional.gelu(context.mean((2, 3), keepdim=True))
        gathered = (gathered + everywhere * gates[:, -1:]) / self.parts[-1]
        modulated: Tensor = self.proj(query * self.h(gathered).permute(0, 2, 3, 1))
        return modulated


class Mlp(nn.Module):
    """Two dense layers."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, width) -> (B, H, W, width)."""
        mapped: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return mapped


class FocalBlock(nn.Module):
    """Modulation and feed-forward block, each with norm, layer scale and shortcut."""

    def __init__(self, width: int, sizes: FocalSizes) -> None:
        super().__init__()
        self.modulation = FocalModulation(width, sizes.kernels)
        self.mlp = Mlp(width, sizes.mlp_ratio * width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.gamma_1, self.gamma_2 = (nn.Parameter(torch.full((width,), 1e-4)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) -> (B, H, W, C)."""
        x = x + self.gamma_1 * self.norm1(self.modulation(x))
        return x + self.gamma_2 * self.norm2(self.mlp(x))


class FocalStage(nn.Module):
    """The blocks of one resolution, and the way to the next one."""

    def __init__(self, width: int, depth: int, sizes: FocalSizes, last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(FocalBlock(width, sizes) for _ in range(depth))
        self.downsample = None if last else PatchEmbed(width, 2 * width, STRIDE)

    def forward(self, x: Tensor) -> Tensor:
        """x (B, H, W, C) -> (B, H, W, C); ``downsample`` is left to the caller, who needs both."""
        for block in self.blocks:
            x = block(x)
        return x


class FocalNet(nn.Module):
    """The backbone. Every stage's result has a norm of its own, which the next stage does not see."""

    def __init__(self, sizes: FocalSizes = FOCAL_LARGE) -> None:
        super().__init__()
        self.sizes = sizes
        self.patch_embed = PatchEmbed(sizes.channels, sizes.width, STEM_STRIDE)
        last = len(sizes.depths) - 1
        self.layers = nn.ModuleList(
            FocalStage(width, depth, sizes, stage == last)
            for stage, (width, depth) in enumerate(zip(sizes.widths, sizes.depths, strict=True))
        )
        for stage, width in enumerate(sizes.widths):
            self.add_module(f"norm{stage}", nn.LayerNorm(width))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features of an image of any size.

        Args:
            image: (B, channels, H, W) float32, normalised.

        Returns:
            one (B, C, H', W') for each stage, finest first: strides 4, 8, 16, 32, sides rounded up.
        """
        x, found = self.patch_embed(image), []
        for stage, layer in enumerate(self.layers):
            x = layer(x)
            found.append(getattr(self, f"norm{stage}")(x).permute(0, 3, 1, 2))
            if stage + 1 < len(self.layers):
                x = layer.get_submodule("downsample")(x.permute(0, 3, 1, 2))
        return found


def focal_sizes_of(shapes: Mapping[str, tuple[int, ...]]) -> FocalSizes:
    """Sizes of a FocalNet from the shapes of its tensors, named as in these modules.

    Raises:
        KeyError: a tensor that tells a size is not there.
    """
    width, channels = shapes["patch_embed.proj.weight"][:2]
    modulation = "layers.0.blocks.0.modulation.focal_layers.{}.0.weight"
    stages = count_names(shapes, "norm{}.weight")
    return FocalSizes(
        channels=channels,
        width=width,
        depths=tuple(count_names(shapes, f"layers.{s}.blocks.{{}}.gamma_1") for s in range(stages)),
        kernels=tuple(
            shapes[modulation.format(level)][-1] for level in range(count_names(shapes, modulation))
        ),
        mlp_ratio=shapes["layers.0.blocks.0.mlp.fc1.weight"][0] // width,
    )
