"""Convolutions for training: in bf16 without the weight gradients of oneDNN that are wrong, and in fp32.

That gradient is wrong for some shapes on processors with AMX (torch 2.13): NaN for 192 to 64 channels on
4x40x28, 14 % off for 1x1x1 kernels on 6x72x72, and memory is overwritten, so that a run dies minutes later.
Forward and input gradient agree with fp32 wherever we looked. There the weight gradient is a set of bf16
matrix products instead. Processors with AVX512-bf16 and no AMX run other kernels of oneDNN. On 2,068 random
shapes they agreed with fp32 to 2e-3; but with a depth of 2 all of 60 were wrong, some of them infinite. So
they are used, and not at that depth: 3 to 8 channels on 48x64x64 take 2.8 ms instead of 55 in fp32 or 23
as matrix products (one core of an AMD EPYC).

In fp32 torch gives a small convolution of one image and one thread to a kernel of its own, which is up to
fourteen times slower than oneDNN's (``conv3d_fp32``).
"""

from __future__ import annotations

from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

MATRIX_CHANNELS = 512
"""From this product of channels on, matrix products beat the fp32 weight gradient that the others take."""


@cache
def _has_amx() -> bool:
    flags = Path("/proc/cpuinfo")
    return not flags.exists() or "amx_" in flags.read_text()


def has_right_gradient(x: Tensor) -> bool:
    """Whether oneDNN's own bf16 weight gradient is right for an input (B, C, ...) on this processor."""
    return not (_has_amx() or (x.ndim == 5 and x.shape[2] == 2))


FP32_SMALL = 20480
"""Up to this product of channels, depth and height torch (2.13, ``use_mkldnn``) leaves a float32 convolution
of one image, computed with one thread, to its own kernel."""


def conv3d_fp32(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    """A convolution with kernels of side 3 and padding 1 in fp32, by oneDNN whatever its size.

    A small volume goes in as two halves that overlap by what the kernel reaches over: of two images torch
    leaves every size to oneDNN. Forward and backward of 24 to 24 channels on 24x32x32 take 52 ms instead of
    398, of 16 to 8 on 32x40x40 28 ms instead of 395 (one core of an AMD EPYC with AVX2 alone).

    Args:
        x: (B, C, D, H, W) float32.
        weight: (C', C, 3, 3, 3) float32.
        stride: 1 or 2, the same along all axes.

    Returns:
        (B, C', D / stride, H / stride, W / stride), rounded up.
    """
    small = len(x) == 1 and x.shape[1] * x.shape[2] * x.shape[3] <= FP32_SMALL
    axis = next((a for a in (2, 3, 4) if x.shape[a] % (2 * stride) == 0), 0)
    if not (small and axis):
        return F.conv3d(x, weight, None, stride, 1)
    half = x.shape[axis] // 2
    around = [0, 0] * (4 - axis) + [1, 2 - stride]  # F.pad counts from the last axis
    padded, length = F.pad(x, around), half + 3 - stride
    halves = torch.cat([padded.narrow(axis, 0, length), padded.narrow(axis, half, length)])
    padding = [0 if a == axis else 1 for a in (2, 3, 4)]
    first, second = F.conv3d(halves, weight, None, stride, padding).chunk(2)
    return torch.cat([first, second], axis)


class MixedConv(torch.autograd.Function):
    """A convolution with kernels of side 3 and padding 1, in bf16, two- or three-dimensional."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        """x (B, C, ...), weight (C', C, 3, ...) -> bf16 (B, C', ... / stride)."""
        low, low_weight = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(low, low_weight)
        ctx.stride, ctx.dtype = stride, x.dtype
        convolve = F.conv3d if weight.ndim == 5 else F.conv2d
        return convolve(low, low_weight, None, stride, 1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, None]:
        """gradient (B, C', ...) -> those of x (B, C, ...), in its dtype, and weight (C', C, 3, ...), fp32."""
        x, weight = ctx.saved_tensors
        n = weight.ndim - 2
        rest = (None, [ctx.stride] * n, [1] * n, [1] * n, False, [0] * n, 1)
        backward = torch.ops.aten.convolution_backward
        if has_right_gradient(x):
            wanted = [ctx.needs_input_grad[0], True, False]
            gx, gw, _ = backward(gradient.bfloat16(), x, weight, *rest, wanted)
            return None if gx is None else gx.to(ctx.dtype), gw.float(), None
        gx = None
        if ctx.needs_input_grad[0]:
            gx = backward(gradient.bfloat16(), x, weight, *rest, [True, False, False])[0].to(ctx.dtype)
        if ctx.stride == 1 and weight.shape[0] * weight.shape[1] >= MATRIX_CHANNELS:
            return gx, kernel_gradient(x, gradient.bfloat16()), None
        gw = backward(gradient.float(), x.float(), weight.float(), *rest, [False, True, False])[1]
        return gx, gw, None


def kernel_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """Weight gradient of a convolution of side 3, stride 1 and padding 1, as one matrix product per kernel
    voxel.

    Both arrays are laid into one zero-padded grid and flattened; a shift of the kernel is then a shift of the
    flat index, so every product reads its factors where they lie.

    Args:
        x: (B, C, ...) input, two or three spatial axes.
        gradient: (B, C', ...) of the output.

    Returns:
        (C', C, 3, ...) float32.
    """
    n = x.ndim - 2
    flat_x, flat_g = (
        F.pad(a.movedim(1, -1), (0, 0, *([1, 1] * n))).reshape(-1, a.shape[1]) for a in (x, gradient)
    )
    strides = [1]
    for side in reversed(x.shape[3:]):
        strides.insert(0, strides[0] * (side + 2))
    margin = sum(strides)
    inner = flat_g[margin:-margin].t()
    shifts = [
        sum(o * s for o, s in zip(offset, strides, strict=True)) for offset in product((-1, 0, 1), repeat=n)
    ]
    out = torch.stack(
        [inner @ flat_x[margin + shift : flat_x.shape[0] - margin + shift] for shift in shifts], -1
    )
    return out.float().unflatten(-1, (3,) * n)
