"""Masks refined at stride 2 with the image beside them: an option of BiomedParse-V that as released is off.

A checkpoint trained with ``convolute_outputs`` has these tensors beside the network's other parts, so the
network takes them as parts of its own. All queries are the mask's then: none tells the edge.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

IMAGE_CHANNELS = 3


def output_parts(queries: int, width: int) -> dict[str, nn.Module]:
    """The layers by their published names, for so many queries and channels in between."""
    return {
        "output_deconv": nn.ConvTranspose2d(queries + IMAGE_CHANNELS, width, 4, 2, 1),
        "layer_norm": nn.GroupNorm(1, width),
        "output_conv": nn.Conv2d(width + IMAGE_CHANNELS, width, 1),
        "output_conv2": nn.Conv2d(width, 1, 1),
    }


def refine_masks(network: nn.Module, image: Tensor, masks: Tensor) -> Tensor:
    """Refine the masks of some prompts.

    Args:
        network: has ``output_parts``.
        image: (P, 3, H, W) as the backbone sees it, a copy for each prompt.
        masks: (P, Q, H / 4, W / 4) logits of all queries.

    Returns:
        (P, 1, H / 2, W / 2) logits: the mean of what the convolutions give and of the queries' mean mask.
    """
    part = network.get_submodule
    quarter, half = (_resized(image, [side // by for side in image.shape[2:]]) for by in (4, 2))
    hidden = part("output_deconv")(torch.cat([quarter, masks], 1))
    hidden = functional.gelu(part("layer_norm")(hidden))
    hidden = functional.gelu(part("output_conv")(torch.cat([half, hidden], 1)))
    mean = _resized(masks.mean(1, keepdim=True), half.shape[2:])
    refined: Tensor = (part("output_conv2")(hidden) + mean) / 2
    return refined


def _resized(x: Tensor, shape: Sequence[int]) -> Tensor:
    """x (B, C, h, w) -> (B, C, *shape), bilinear without antialiasing."""
    return functional.interpolate(x, tuple(shape), mode="bilinear", align_corners=False)
