"""Text-prompted segmentation on SPAD-ViT, for volumes of any spacing.

The feature maps of the backbone (SPAD-Nets, Luo et al. 2023, section 5.3) take the place of nano's own
convolutions at 1/4 of the plane and below. All else is nano's: queries of a sentence attend to the maps,
spatial prompts are aligned with the features, a presence head tells slices that show nothing, two thin
convolutions at full resolution add the edge. At 1/2 there are convolutions, as patches of 16 voxels see
nothing so fine.

Axes are (batch, channel, D, H, W) with the thick axis first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vesal.networks.nano import IMAGE_CHANNELS, WIDTHS, Nano, PointConv, Widths
from vesal.networks.spad import Anisotropy
from vesal.networks.spad_segmentation import VitAdapter
from vesal.networks.spad_vit import SpadVitSizes, spad_vit_sizes_of

HIGHEST_DEGREE = 4
"""From this degree of anisotropy on slices never meet, so higher ones need no graph of their own."""
PATCH = "patch_embed.proj.weight"


@dataclass(frozen=True)
class PromptedSizes:
    """Sizes of the network."""

    backbone: SpadVitSizes = SpadVitSizes(IMAGE_CHANNELS, 192, 512, 6, 3)
    """Patches of 16 voxels; channels are raw and standardised intensity and the foreground prompt."""
    after: tuple[int, int, int] = (1, 3, 5)
    """Blocks of the backbone, from 0, whose output is seen at 1/4, 1/8 and 1/16 of the plane."""
    widths: Widths = WIDTHS
    """Channels at 1/2, 1/4, 1/8 and 1/16, multiples of 8."""


class SpadPrompted(Nano):
    """See the module's docstring. Sides are multiples of 16 in plane, of 16 / 2^degree along depth."""

    def __init__(self, sizes: PromptedSizes | None = None) -> None:
        """``sizes``: None for those of ``PromptedSizes``."""
        self.sizes = sizes or PromptedSizes()
        super().__init__(self.sizes.widths)
        # The backbone stands in for nano's other levels.
        self.down = nn.ModuleList([self.down[0]])
        width = self.sizes.backbone.width
        self.backbone = VitAdapter(self.sizes.backbone, self.sizes.after)
        self.laterals = nn.ModuleList(PointConv(width, channels) for channels in self.sizes.widths[1:])

    def encode(self, x: Tensor, degree: int) -> list[Tensor]:
        """(B, 3, D, H, W) -> features at 1/2, 1/4, 1/8, 1/16 (depth halved ``degree`` times less)."""
        half, at = self.stem(x, Anisotropy(degree))
        half = self.down[0](F.leaky_relu(self.stem_norm(half), 0.01), at)
        maps = self.backbone.pyramid(x, Anisotropy(degree))
        return [half, *(lateral(y) for lateral, (y, _) in zip(self.laterals, maps, strict=True))]

    @torch.no_grad()
    def begin_from(self, backbone: Mapping[str, Tensor]) -> None:
        """Begin from a pre-trained backbone, by its published names.

        Its patches saw a grey image in every channel: both channels of intensity begin with half of their
        sum, the foreground prompt with nothing. One that was trained with the two channels of intensity keeps
        them.

        Raises:
            RuntimeError: tensors are missing or of another size; the message names them.
        """
        kernels = backbone[PATCH]
        if kernels.shape[1] != IMAGE_CHANNELS - 1:
            kernels = kernels.sum(1, keepdim=True).expand(-1, IMAGE_CHANNELS - 1, -1, -1, -1) / 2
        patches = torch.cat([kernels, torch.zeros_like(kernels[:, :1])], 1)
        state = self.backbone.state_dict()
        own = {name: value for name, value in state.items() if name.startswith(("fpn.", "norms."))}
        self.backbone.load_state_dict({**backbone, PATCH: patches, **own})


def prompted_sizes_of(
    shapes: Mapping[str, tuple[int, ...]], heads: int, after: tuple[int, int, int]
) -> PromptedSizes:
    """Sizes of a network from the shapes of its tensors; what these do not tell are heads and blocks seen."""
    own = "backbone."
    inside = {name.removeprefix(own): shape for name, shape in shapes.items() if name.startswith(own)}
    a, b, c, d = (shapes["down.0.norm2.weight"][0], *(shapes[f"laterals.{n}.weight"][0] for n in range(3)))
    return PromptedSizes(spad_vit_sizes_of(inside, heads), after, (a, b, c, d))
