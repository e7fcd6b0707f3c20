"""Spatially adaptive layers: one set of weights for every slice thickness (SPAD-Nets, Luo et al. 2023, 4.2).

A layer has the weights of an ordinary 3D convolution with the same kernel and stride along all axes. Where
the slices of its input are two or more in-plane voxels apart, its kernel is summed along depth and it strides
less there, until down-sampling of the plane has caught up. How far that is, ``Anisotropy`` tells, which goes
beside the tensor: a layer takes both and returns both.

Axes are (batch, channel, D, H, W) with the thick axis first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Inflation = Literal["average", "center"]
Upsampling = Literal["trilinear", "nearest-exact"]


@dataclass(frozen=True)
class Anisotropy:
    """What a feature map must tell of its spacing (section 4.2, Generalized Resampling)."""

    degree: int
    """Degree of anisotropy of the image, 0 or more; see ``degree_of_anisotropy``."""
    downsamplings: int = 0
    """How often the plane was halved since, less how often it was doubled; more than once may be undone."""

    @property
    def pending(self) -> int:
        """Degree of anisotropy of the feature map itself: halvings of the plane that depth waits for."""
        return max(self.degree - self.downsamplings, 0)

    @property
    def depth_halvings(self) -> int:
        """How often depth was halved, and may be doubled again."""
        return max(self.downsamplings - self.degree, 0)

    def depth_stride_down(self, times: int) -> int:
        """Stride along depth where the plane is halved ``times`` times: 2^k0, k0 = max(k - DA, 0)."""
        return 1 << max(times - self.pending, 0)

    def depth_stride_up(self, times: int) -> int:
        """Stride along depth where the plane is doubled ``times`` times: no more than depth was halved."""
        return 1 << min(self.depth_halvings, times)

    def down(self, times: int) -> Anisotropy:
        """After the plane was halved ``times`` times; below 0: doubled."""
        return Anisotropy(self.degree, self.downsamplings + times)


def degree_of_anisotropy(spacing_dhw_mm: Sequence[float]) -> int:
    """``max(0, floor(log2(s_slice / s_plane)))`` (section 4.2); of two in-plane spacings the finer counts.

    Args:
        spacing_dhw_mm: three positive lengths.

    Raises:
        ValueError: a length is not a positive number.
    """
    s_slice, *plane = (float(mm) for mm in spacing_dhw_mm)
    if len(plane) != 2 or not all(0 < mm < math.inf for mm in (s_slice, *plane)):
        raise ValueError(f"spacing_dhw_mm is {tuple(spacing_dhw_mm)}; wanted are three positive lengths.")
    # log2 rounds: the exponent does not.
    return max(0, math.frexp(s_slice / min(plane))[1] - 1)


def sum_pooled(weight: Tensor, depth: int) -> Tensor:
    """Sum of consecutive taps along depth: (A, B, K, h, w) -> (A, B, depth, h, w); ``depth`` divides K.

    It keeps mean and variance of what a down-sampling convolution gives (section 4.2).
    """
    if depth == 1:
        return weight.sum(2, keepdim=True)
    return weight.unflatten(2, (depth, -1)).sum(3)


class SpadConv(nn.Module):
    """Convolution with a stride of 2^k: down-sampling, k3s1 and patch embedding (section 4.2)."""

    def __init__(self, c_in: int, c_out: int, kernel: int, stride: int = 1, bias: bool = True) -> None:
        """``kernel`` and ``stride`` of all three axes.

        Raises:
            ValueError: the kernel is neither as long as the stride, a power of two, nor 3 with a stride of 1
                or 2: how it would shrink along depth is defined for no other.
        """
        super().__init__()
        if not (_is_power_of_two(stride) and (kernel == stride or (kernel == 3 and stride <= 2))):
            raise ValueError(
                f"kernel {kernel}, stride {stride}; wanted is a kernel as long as the stride, which is a "
                "power of two, or a kernel of 3 with a stride of 1 or 2."
            )
        self.stride, self.times = stride, stride.bit_length() - 1
        self.padding = 1 if kernel == 3 else 0
        self.weight = nn.Parameter(torch.empty(c_out, c_in, kernel, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(c_out)) if bias else None
        nn.init.kaiming_normal_(self.weight, a=0.01)

    def forward(self, x: Tensor, at: Anisotropy) -> tuple[Tensor, Anisotropy]:
        """(B, C, D, H, W) -> (B, C', D / depth stride, H / stride, W / stride), and where that stands."""
        return self.convolved(x, at), at.down(self.times)

    def convolved(self, x: Tensor, at: Anisotropy) -> Tensor:
        """See ``forward``: (B, C, D, H, W) -> (B, O, d, h, w)."""
        if not at.pending:
            return F.conv3d(x, self.weight, self.bias, self.stride, self.padding)
        depth = at.depth_stride_down(self.times)
        strides, padding = (depth, self.stride, self.stride), (0, self.padding, self.padding)
        return F.conv3d(x, sum_pooled(self.weight, depth), self.bias, strides, padding)

    @torch.no_grad()
    def load_weights(self, weight: Tensor, bias: Tensor | None = None, how: Inflation = "average") -> None:
        """Begin from the weights of another convolution; see ``fitted_weight``.

        Args:
            weight: (O, C, k, k) of a 2D or (O, C, K, k, k) of a 3D convolution.
            bias: (O,), or None to leave the own one.
            how: see ``inflated``.

        Raises:
            ValueError: kernel or output channels differ.
        """
        self.weight.copy_(fitted_weight(weight, tuple(self.weight.shape), how))
        if bias is not None and self.bias is not None:
            self.bias.copy_(bias)


class SpadTransposedConv(nn.Module):
    """Transposed convolution whose kernel is its stride, 2^k: doubles depth only as often as it was halved.

    Kernels are sum-pooled as those of ``SpadConv`` are, as released; an output voxel thus is the sum of the
    taps, not their mean.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, bias: bool = True) -> None:
        """``stride`` and kernel of all three axes. Raises ValueError where it is no power of two."""
        super().__init__()
        if not _is_power_of_two(stride):
            raise ValueError(f"stride {stride}; wanted is a power of two.")
        self.stride, self.times = stride, stride.bit_length() - 1
        self.weight = nn.Parameter(torch.empty(c_in, c_out, stride, stride, stride))
        self.bias = nn.Parameter(torch.zeros(c_out)) if bias else None
        # Each output voxel sees one tap of every input channel.
        nn.init.normal_(self.weight, std=(2 / c_in) ** 0.5)

    def forward(self, x: Tensor, at: Anisotropy) -> tuple[Tensor, Anisotropy]:
        """(B, C, D, H, W) -> (B, C', D * depth stride, H * stride, W * stride), and where that stands."""
        depth = at.depth_stride_up(self.times)
        strides = (depth, self.stride, self.stride)
        weight = self.weight if depth == self.stride else sum_pooled(self.weight, depth)
        y = F.conv_transpose3d(x, weight, self.bias, strides)
        return y, at.down(-self.times)


def down_interpolated(x: Tensor, at: Anisotropy, times: int = 1) -> tuple[Tensor, Anisotropy]:
    """Area interpolation to 1 / 2^times of the plane, and of the depth as far as it is due, as released.

    (B, C, D, H, W) -> (B, C, D / depth stride, H / 2^times, W / 2^times), rounded down.
    """
    strides = at.depth_stride_down(times), 1 << times, 1 << times
    # A mean of blocks where the sides are multiples, and it can be exported for sides that are not known.
    if torch.jit.is_tracing() or all(n % s == 0 for n, s in zip(x.shape[2:], strides, strict=True)):
        return F.avg_pool3d(x, strides), at.down(times)
    size = [max(n // s, 1) for n, s in zip(x.shape[2:], strides, strict=True)]
    return F.interpolate(x, size=size, mode="area"), at.down(times)


def up_interpolated(
    x: Tensor, at: Anisotropy, times: int = 1, mode: Upsampling = "trilinear"
) -> tuple[Tensor, Anisotropy]:
    """Interpolation to 2^times the plane, and to the depth as far as it was halved, as released.

    (B, C, D, H, W) -> (B, C, D * depth stride, H * 2^times, W * 2^times).
    """
    plane = float(1 << times)
    scale = (float(at.depth_stride_up(times)), plane, plane)
    return F.interpolate(x, scale_factor=scale, mode=mode), at.down(-times)


def inflated(weight: Tensor, depth: int, how: Inflation = "average") -> Tensor:
    """A 2D kernel for several slices (Zhang et al. 2022): (A, B, h, w) -> (A, B, depth, h, w).

    ``average`` spreads it evenly; ``center`` puts it on the middle slice, or half of it on each of the two
    middle ones. Either is the same 2D convolution where the input is constant along depth.
    """
    if how == "average":
        return (weight / depth).unsqueeze(2).repeat(1, 1, depth, 1, 1)
    if how != "center":
        raise ValueError(f"how is {how!r}; wanted is average or center.")
    middle = range((depth - 1) // 2, depth // 2 + 1)
    kernel = weight.new_zeros(*weight.shape[:2], depth, *weight.shape[2:])
    kernel[:, :, list(middle)] = (weight / len(middle)).unsqueeze(2)
    return kernel


def with_input_channels(weight: Tensor, channels: int) -> Tensor:
    """A kernel for another number of input channels, as released: (A, B, ...) -> (A, channels, ...).

    Every new channel has the sum of the old ones, divided by how many are new, so that a grey image gives the
    same whether it comes once or repeated.
    """
    if weight.shape[1] == channels:
        return weight
    total = weight.sum(1, keepdim=True) / channels
    return total.repeat(1, channels, *[1] * (weight.ndim - 2))


def fitted_weight(weight: Tensor, shape: tuple[int, ...], how: Inflation = "average") -> Tensor:
    """The kernel of a 2D or 3D convolution for a layer of ``shape`` (A, B, K, h, w).

    Raises:
        ValueError: more than depth and input channels would have to change.
    """
    if weight.ndim == 4:
        weight = inflated(weight, shape[2], how)
    weight = with_input_channels(weight, shape[1])
    if tuple(weight.shape) != shape:
        raise ValueError(
            f"a kernel of shape {tuple(weight.shape)} came for a layer of {shape}; wanted are the same "
            "output channels and sides."
        )
    return weight


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0
