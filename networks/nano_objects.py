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

from vesal.networks.nano import GROUP, IMAGE_CHANNELS, QUERY, WIDTHS, Nano, PointConv, SliceConv, Widths
from vesal.networks.spad import Anisotropy, up_interpolated

CHANNELS = 16
"""Of the head, at full resolution."""
TOLD = 2
"""correction of the mask, distance to the border"""
HEAD = "objects."
"""What the head's tensors are called in a state dict."""


class ObjectHead(nn.Module):
    """See the module's docstring."""

    def __init__(self, features: int) -> None:
        """``features``: their channels. The mask's correction begins at zero."""
        super().__init__()
        self.image = SliceConv(IMAGE_CHANNELS, CHANNELS)
        self.gate = PointConv(features, CHANNELS)
        self.first = SliceConv(2 * CHANNELS, CHANNELS)
        self.second = SliceConv(CHANNELS, CHANNELS)
        self.norms = nn.ModuleList([nn.GroupNorm(CHANNELS // GROUP, CHANNELS) for _ in range(3)])
        self.rows = nn.Linear(QUERY, TOLD * CHANNELS)
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
        gate, at = up_interpolated(self.gate(refined), at)
        y = F.leaky_relu(self.norms[0](self.image(x, at)[0]), 0.01)
        y = F.leaky_relu(self.norms[1](self.first(torch.cat([y, gate], 1), at)[0]), 0.01)
        y = F.leaky_relu(self.norms[2](self.second(y, at)[0]) + y, 0.01)
        flat = y.flatten(2).to(q.dtype)
        correction, distance = self.rows(q).chunk(TOLD, -1)
        bias, base = self.bias(q).chunk(TOLD, -1)
        told = [
            (row @ flat + more).unflatten(2, y.shape[2:])
            for row, more in ((correction, bias), (distance, base))
        ]
        return told[0], told[1]


class NanoObjects(Nano):
    """See the module's docstring. ``forward`` is that of ``Nano``."""

    def __init__(self, widths: Widths = WIDTHS) -> None:
        super().__init__(widths)
        self.objects = ObjectHead(widths[0])

    def forward_objects(
        self, image: Tensor, prompt: Tensor, text: Tensor, side: Tensor, modality: Tensor, degree: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Corrected logits and logits of the distance (B, N, D, H, W), with those of presence (B, N, D) between;
        arguments as in ``forward``.
        """
        logits, x, refined, q, at = self.decoded(image, prompt, text, side, modality, degree)
        correction, distance = self.objects(x, refined, q, at)
        return logits + correction, self._presence(refined, q, degree == 0), distance
