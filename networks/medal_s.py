"""Medal S (Shi et al. 2025): SAT's network with spatial prompts.

The union of the prompts is a second input channel; each prompt is aligned with its mask embedding and joined
with the features per voxel (paper section 2.3). Facts: ``docs/medal_s.md`` 7 to 13 and 17; checked against
recorded outputs of the published code. Axes are (h, w, d) as there, intensities raw 0..255.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vesal.networks.sat import Sat, Sizes, mask_logits
from vesal.networks.unet import Stack

MEDAL_S = Sizes(2, (64, 64, 128, 256, 512, 768), 2, 768, 768, 256, 2048, 6)


class MedalS(Sat):
    """Text queries and spatial prompts to logits."""

    def __init__(self, sizes: Sizes = MEDAL_S) -> None:
        super().__init__(sizes)
        width = sizes.features[0]
        self.fusion_conv = Stack(2 * width, width, 1)

    def forward(
        self,
        image: Tensor,
        queries: Tensor,
        prompt: Tensor | None = None,
        foreground: Tensor | None = None,
    ) -> Tensor:
        """Segment one window.

        Args:
            image: (B, 1, h, w, d) float32, raw 0..255, sides multiples of ``sizes.side_multiple``.
            queries: (B, N, E) float32 of the text encoder.
            prompt: (B, N, h, w, d) masks 0 or 1, one a query; zeros where there are none. None leaves the
                fusion out, which is not the same as zeros.
            foreground: (B, 1, h, w, d), 0 or 1; None means zeros. In the published inference it is the
                union of the prompts, see ``prompt_union``.

        Returns:
            logits (B, N, h, w, d).
        """
        if foreground is None:
            foreground = torch.zeros_like(image)
        pixel, tokens, positions = self.encode(torch.cat([image, foreground], 1))
        masks = self.embed_masks(tokens, positions, queries)
        return mask_logits(masks, pixel if prompt is None else self.fuse(pixel, masks, prompt))

    def fuse(self, pixel: Tensor, masks: Tensor, prompt: Tensor) -> Tensor:
        """Join features (B, C, ...) with prompts (B, N, ...) aligned by mask embeddings (B, N, C).

        Returns:
            features (B, C, ...).
        """
        fused: Tensor = self.fusion_conv(torch.cat([pixel, align_prompts(masks, prompt)], 1))
        return fused


def align_prompts(masks: Tensor, prompt: Tensor) -> Tensor:
    """F_a = T^T S_p (paper section 2.3): masks (B, N, C) and prompt (B, N, h, w, d) -> (B, C, h, w, d)."""
    return torch.einsum("bnc,bnhwd->bchwd", masks, prompt)


def prompt_union(prompt: Tensor) -> Tensor:
    """prompt (B, N, ...) -> foreground (B, 1, ...): where any prompt is set."""
    return prompt.amax(1, keepdim=True)


def complementary_passes(
    model: MedalS, image: Tensor, queries: Tensor, prompt: Tensor, blocks: Tensor, side: int
) -> Tensor:
    """Two passes with complementary halves of the prompt; a voxel takes the pass without its own prompt.

    Paper section 2.4, algorithm 2, as the published code does it (``docs/medal_s.md`` 11).

    Args:
        model: the network.
        image: (B, 1, h, w, d), as in ``MedalS.forward``.
        queries: (B, N, E), as in ``MedalS.forward``.
        prompt: (B, N, h, w, d), 0 or 1.
        blocks: (h / side, w / side, d / side) bool, True where the first pass keeps the prompt.
        side: voxels a side of a block.

    Returns:
        logits (B, N, h, w, d).
    """
    first_half = blocks
    for axis in range(3):
        first_half = first_half.repeat_interleave(side, axis)
    kept = prompt * first_half
    rest = prompt * ~first_half
    first = model(image, queries, kept, prompt_union(kept))
    second = model(image, queries, rest, prompt_union(rest))
    return torch.where(first_half, second, first)
