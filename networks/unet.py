"""The U-Net that Medal S and SAT share: plain convolutions, six resolutions, features of every one.

It is the plain U-Net of nnU-Net (Isensee et al. 2021) with kernels of side 3. Facts: ``docs/sat.md`` 4 and
``docs/checkpoints.md`` 3 and 7. Parameter names are those of the published files, so that loading them is a
matter of dropping what is stored twice.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

NORM_EPSILON = 1e-5
SLOPE = 0.01
"""Of the leaky ReLU (``docs/medal_s.md`` 13)."""


class ConvBlock(nn.Module):
    """Convolution of side 3, instance norm, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, stride, 1)
        self.norm = nn.InstanceNorm3d(outputs, NORM_EPSILON, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w, d) -> (B, outputs, h / stride, w / stride, d / stride)."""
        return nn.functional.leaky_relu(self.norm(self.conv(x)), SLOPE)


class Stack(nn.Module):
    """``count`` blocks one after the other; the first one changes channels and side."""

    def __init__(self, inputs: int, outputs: int, count: int, stride: int = 1) -> None:
        super().__init__()
        first = ConvBlock(inputs, outputs, stride)
        self.convs = nn.ModuleList([first, *(ConvBlock(outputs, outputs) for _ in range(count - 1))])

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, h, w, d) -> (B, outputs, h / stride, w / stride, d / stride)."""
        for block in self.convs:
            x = block(x)
        return x


class Encoder(nn.Module):
    """One stack per resolution, each but the first halving all sides."""

    def __init__(self, channels: int, features: Sequence[int], count: int) -> None:
        super().__init__()
        inputs = (channels, *features[:-1])
        # Each in a list of its own: the published names have that level.
        self.stages = nn.ModuleList(
            nn.Sequential(Stack(i, o, count, 2 if level else 1))
            for level, (i, o) in enumerate(zip(inputs, features, strict=True))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, channels, h, w, d) -> features (B, C_i, ...) of every resolution, finest first."""
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found


class Decoder(nn.Module):
    """Back to full resolution: upsampled by a transposed convolution, joined with the encoder's features."""

    def __init__(self, features: Sequence[int], count: int) -> None:
        super().__init__()
        coarse_to_fine = list(zip(features[:0:-1], features[-2::-1], strict=True))
        self.transpconvs = nn.ModuleList(nn.ConvTranspose3d(c, f, 2, 2) for c, f in coarse_to_fine)
        self.stages = nn.ModuleList(Stack(2 * f, f, count) for _, f in coarse_to_fine)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Features (B, C_i, ...) of every resolution, finest first -> (B, features[0], h, w, d)."""
        x = levels[-1]
        for upsample, stage, skip in zip(self.transpconvs, self.stages, levels[-2::-1], strict=True):
            x = stage(torch.cat([upsample(x), skip], 1))
        return x


class UNet(nn.Module):
    """Encoder and decoder. Sides must be multiples of ``2 ** (len(features) - 1)``."""

    def __init__(self, channels: int, features: Sequence[int], count: int) -> None:
        super().__init__()
        self.encoder = Encoder(channels, features, count)
        self.decoder = Decoder(features, count)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, channels, h, w, d) -> features per voxel (B, features[0], h, w, d), and of every resolution."""
        levels = self.encoder(x)
        return self.decoder(levels), levels
