"""The residual encoder of nnU-Net (Isensee et al. 2024, "nnU-Net revisited"): features of every resolution.

Names of parameters are those of published files, so that loading them is a matter of dropping what is stored
twice.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from vesal.networks.unet import NORM_EPSILON, SLOPE


class ConvNorm(nn.Module):
    """Convolution and instance norm."""

    def __init__(self, inputs: int, outputs: int, side: int = 3, stride: int = 1, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, side, stride, side // 2, bias=bias)
        self.norm = nn.InstanceNorm3d(outputs, NORM_EPSILON, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, d, h, w) -> (B, outputs, d / stride, h / stride, w / stride)."""
        normed: Tensor = self.norm(self.conv(x))
        return normed


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut.

    The shortcut is pooled (mean) where the block halves the sides, and projected where it changes channels.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = ConvNorm(inputs, outputs, stride=stride), ConvNorm(outputs, outputs)
        # Published files name the projection `skip.1`, behind the pooling.
        parts: list[nn.Module] = [nn.AvgPool3d(stride, stride) if stride > 1 else nn.Identity()]
        if inputs != outputs:
            parts.append(ConvNorm(inputs, outputs, side=1, bias=False))
        self.skip = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, d, h, w) -> (B, outputs, d / stride, h / stride, w / stride)."""
        found = self.conv2(functional.leaky_relu(self.conv1(x), SLOPE))
        return functional.leaky_relu(found + self.skip(x), SLOPE)


class Stem(nn.Module):
    """The first convolution, at full resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([ConvNorm(inputs, outputs)])

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, d, h, w) -> (B, outputs, d, h, w)."""
        return functional.leaky_relu(self.convs[0](x), SLOPE)


class Stage(nn.Module):
    """Residual blocks one after the other; the first one changes channels and sides."""

    def __init__(self, inputs: int, outputs: int, count: int, stride: int) -> None:
        super().__init__()
        first = ResidualBlock(inputs, outputs, stride)
        self.blocks = nn.Sequential(first, *(ResidualBlock(outputs, outputs, 1) for _ in range(count - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, d, h, w) -> (B, outputs, d / stride, h / stride, w / stride)."""
        found: Tensor = self.blocks(x)
        return found


class ResidualEncoder(nn.Module):
    """Stem, and a stage for each resolution; all but the first halve the sides."""

    def __init__(self, channels: int, features: Sequence[int], blocks: Sequence[int]) -> None:
        super().__init__()
        self.stem = Stem(channels, features[0])
        inputs = (features[0], *features[:-1])
        self.stages = nn.ModuleList(
            Stage(i, o, count, 2 if level else 1)
            for level, (i, o, count) in enumerate(zip(inputs, features, blocks, strict=True))
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, channels, d, h, w) -> features (B, C_i, ...) of every resolution, finest first."""
        x, found = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found
