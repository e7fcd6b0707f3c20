"""The default network with a head that tells the objects of a target apart, beside the mask.

For each query the head tells two things of a voxel. First, how far inside an object it lies: its distance to
the border as a share of the largest one in that object, as StarDist's object probability (Schmidt et al.
2018, section 2.1) and the energy of Deep Watershed (Bai and Urtasun 2017). Of what the field uses this is a
single number, which neither mirrored axes nor blended windows nor another scale disturb. Offsets and flows
(EmbedSeg, Cellpose) turn with the axes, and windows that disagree on an object cannot be averaged; the rays
of StarDist want star-convex objects. Second, a correction of the mask's logits: small objects are at the
limit of a mask that is told at half resolution.

What the head sees is detached, so training it changes nothing else.
Axes are (batch, channel, D, H, W) with the thick axis first.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesal.networks.nano import (
    GROUP,
    IMAGE_CHANNELS,
    QUERY,
    WIDTHS,
    Block,
    Nano,
    PointConv,
    SliceConv,
    Widths,
)
from vesal.networks.spad import Anisotropy, down_interpolated, up_interpolated

IMAGE, HALF, QUARTER, EIGHTH, LAST = 8, 32, 48, 48, 16
"""Channels of the head at full resolution, on its three levels below, and before what it tells."""
TOLD = 2
"""correction of the mask, distance to the border"""
HEAD = "objects."
"""What the head's tensors are called in a state dict."""


class ObjectHead(nn.Module):
    """A small U-Net of its own on the image and the network's features.

    How far inside its object a voxel lies hangs on the whole object, of up to 13 voxels' radius; three
    convolutions at full resolution, which cost as much, see 3 voxels around one (docs/objects.md).
    """

    def __init__(self, features: int) -> None:
        """``features``: their channels. The mask's correction begins at zero."""
        super().__init__()
        self.image = SliceConv(IMAGE_CHANNELS, IMAGE)
        self.down = nn.ModuleList(
            [Block(features + IMAGE, HALF), Block(HALF, QUARTER), Block(QUARTER, EIGHTH)]
        )
        self.up = nn.ModuleList([Block(EIGHTH + QUARTER, QUARTER), Block(QUARTER + HALF, HALF)])
        self.gate = PointConv(HALF, LAST)
        self.last = SliceConv(LAST + IMAGE, LAST)
        self.norms = nn.ModuleList([nn.GroupNorm(n // GROUP, n) for n in (IMAGE, LAST)])
        self.rows = nn.Linear(QUERY, TOLD * LAST)
        self.bias = nn.Linear(QUERY, TOLD)
        with torch.no_grad():
            for layer in (self.rows, self.bias):
                layer.weight[: len(layer.weight) // TOLD] = 0
                layer.bias.zero_()

    def forward(self, x: Tensor, refined: Tensor, q: Tensor, at: Anisotropy) -> tuple[Tensor, Tensor]:
        """Correction of the mask's logits and logits of the distance, each (B, N, D, H, W); arguments as
        ``Nano.decoded`` returns them.
        """
        x, refined, q = x.detach(), refined.detach(), q.detach()
        fine = F.leaky_relu(self.norms[0](self.image(x, at.down(-1))[0]), 0.01)
        y = torch.cat([down_interpolated(fine, at.down(-1))[0], refined], 1)
        levels: list[Tensor] = []
        for number, block in enumerate(self.down):
            if number:
                y, at = down_interpolated(y, at)
            y = block(y, at)
            levels.append(y)
        for block, level in zip(self.up, levels[1::-1], strict=True):
            y, at = up_interpolated(y, at)
            y = block(torch.cat([y, level], 1), at)
        y, at = up_interpolated(self.gate(y), at)
        y = F.leaky_relu(self.norms[1](self.last(torch.cat([y, fine], 1), at)[0]), 0.01)
        flat = y.flatten(2).to(q.dtype)
        rows = zip(self.rows(q).chunk(TOLD, -1), self.bias(q).chunk(TOLD, -1), strict=True)
        correction, distance = ((row @ flat + base).unflatten(2, y.shape[2:]) for row, base in rows)
        return correction, distance


class NanoObjects(Nano):
    """See the module's docstring. ``forward`` is that of ``Nano``."""

    def __init__(self, widths: Widths = WIDTHS) -> None:
        super().__init__(widths)
        self.objects = ObjectHead(widths[0])

    def forward_objects(
        self, image: Tensor, prompt: Tensor, text: Tensor, side: Tensor, modality: Tensor, degree: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Corrected logits (B, N, D, H, W), logits of presence (B, N, D) and of the distance (B, N, D, H, W);
        arguments as in ``forward``.
        """
        logits, x, refined, q, at = self.decoded(image, prompt, text, side, modality, degree)
        correction, distance = self.objects(x, refined, q, at)
        return logits + correction, self._presence(refined, q, degree == 0), distance
