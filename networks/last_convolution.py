"""The convolution that makes mask features, put off until there are masks to make.

Masks are products of embeddings with mask features, which are a convolution of the finest features without
an activation behind it. Both are linear, so the convolution may be taken where it costs least: resized
features come from a strided convolution of averages, and the few masks at full size from embeddings that
went through the kernel. At 512 channels and 128 x 128 positions that is 26 GFLOP and 0.3 a prompt instead of
77; equal up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


def can_stride(x: Tensor, shape: Sequence[int], factor: int) -> bool:
    """Whether x (S, C, H, W) is a whole, even factor larger than a level's shape (h, w)."""
    height, width = x.shape[2:]
    return bool(factor % 2 == 0 and height == factor * shape[0] and width == factor * shape[1])


def resized_convolution(conv: nn.Conv2d, x: Tensor, factor: int) -> Tensor:
    """The bilinear resize of a convolution of x, without the convolution at full size.

    A pixel that is resized by an even factor, without antialiasing, is the mean of the four pixels at the
    middle of its block; the mean of the convolution there is the convolution of such means.

    Args:
        conv: 3 x 3, padding 1.
        x: (S, C, H, W), sides multiples of ``factor``.
        factor: even.

    Returns:
        (S, C', H / factor, W / factor).
    """
    means = functional.avg_pool2d(x, 2, 1, padding=1)
    first = factor // 2 - 1
    return functional.conv2d(means[:, :, first:, first:], conv.weight, conv.bias, factor)


def composed_logits(conv: nn.Conv2d, embedded: Tensor, x: Tensor) -> Tensor:
    """Embeddings (S, N, C') times a convolution of x (S, C, H, W) -> (S, N, H, W).

    Each embedding becomes a kernel of one output, whose nine products are shifted and added.
    """
    slices, channels, height, width = x.shape
    kernel = conv.weight.permute(0, 2, 3, 1).flatten(1)
    own = (embedded @ kernel).reshape(slices, -1, channels)
    products = (own @ x.flatten(2)).reshape(-1, 9, height, width)
    shift = torch.eye(9).reshape(1, 9, 3, 3).to(x)
    summed = functional.conv2d(products, shift, padding=1).reshape(slices, -1, height, width)
    return summed if conv.bias is None else summed + (embedded @ conv.bias)[:, :, None, None]
