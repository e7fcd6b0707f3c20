"""BiomedParse-V (Zhao et al. 2025): packed slices and sentences to masks, edges and existence.

FocalNet, pixel decoder, BoltzFormer with the Independent Segmentation Discriminator, and a text encoder as
CLIP has it; as released, and checked against recorded outputs of the published code. Names of parameters are
the published ones, without the prefix ``model.`` of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn

from vesal.inference.data.cross_slice import NO_CROSS_SLICE, CrossSlice
from vesal.networks.boltzformer import (
    BOLTZ_LARGE,
    LEVELS,
    BoltzFormer,
    BoltzSizes,
    Decoded,
    ImageMemory,
    Masking,
    boltz_sizes_of,
)
from vesal.networks.clip_text import CLIP_BASE, ClipSizes, ClipText, clip_sizes_of
from vesal.networks.cross_slice import look_across
from vesal.networks.focalnet import FOCAL_LARGE, FocalNet, FocalSizes, focal_sizes_of
from vesal.networks.last_convolution import can_stride
from vesal.networks.output_convolutions import output_parts, refine_masks
from vesal.networks.pixel_decoder import PIXEL_LARGE, PixelDecoder, PixelSizes, pixel_sizes_of

BACKBONE, HEAD = "backbone.", "sem_seg_head."
PIXEL, PREDICTOR = f"{HEAD}pixel_decoder.", f"{HEAD}predictor."
TEXT = f"{PREDICTOR}language_encoder.encoder_transformer."
"""Where the parts stand in the names of parameters."""
HEADS = 8
"""Of every attention in the published network."""
MEAN, STD = 114.495, 57.63
"""Of grey levels 0..255, where a checkpoint tells no others: ImageNet's, averaged over the channels."""


@dataclass(frozen=True)
class BiomedParseSizes:
    """Sizes of all parts; the published ones are ``BIOMEDPARSE_V``."""

    backbone: FocalSizes
    pixel: PixelSizes
    decoder: BoltzSizes
    text: ClipSizes
    output_width: int = 0
    """Channels of the convolutions on the masks; 0 where there are none, as released."""

    @property
    def side_multiple(self) -> int:
        """Pixels that the sides of a slice are best a multiple of: the coarsest stride."""
        return int(4 << (len(self.backbone.depths) - 1))


BIOMEDPARSE_V = BiomedParseSizes(FOCAL_LARGE, PIXEL_LARGE, BOLTZ_LARGE, CLIP_BASE)


class LanguageEncoder(nn.Module):
    """Sentences to words in the decoder's width."""

    def __init__(self, sizes: ClipSizes, width: int) -> None:
        super().__init__()
        self.encoder_transformer = ClipText(sizes)
        self.lang_proj = nn.Parameter(torch.empty(sizes.width, width))
        self.logit_scale = nn.Parameter(torch.zeros(()))  # published, and used in training alone
        nn.init.normal_(self.lang_proj, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (P, L) int64 -> (P, L, width), padding included."""
        projected: Tensor = self.encoder_transformer(ids) @ self.lang_proj
        return projected


class BiomedParseV(nn.Module):
    """The whole network. Its plain form repeats the image for each prompt, its shared form does not."""

    pixel_mean: Tensor
    pixel_std: Tensor
    cross: CrossSlice = NO_CROSS_SLICE

    def __init__(self, sizes: BiomedParseSizes = BIOMEDPARSE_V) -> None:
        super().__init__()
        self.sizes = sizes
        self.backbone = FocalNet(sizes.backbone)
        predictor = BoltzFormer(sizes.decoder)
        predictor.add_module("language_encoder", LanguageEncoder(sizes.text, sizes.decoder.width))
        self.sem_seg_head = nn.ModuleDict(
            {"pixel_decoder": PixelDecoder(sizes.pixel), "predictor": predictor}
        )
        self.register_buffer("pixel_mean", torch.full((1, 3, 1, 1), MEAN))
        self.register_buffer("pixel_std", torch.full((1, 3, 1, 1), STD))
        if sizes.output_width:
            for name, part in output_parts(sizes.decoder.queries, sizes.output_width).items():
                self.add_module(name, part)

    @property
    def pixel_decoder(self) -> PixelDecoder:
        """The part between backbone and decoder."""
        return cast(PixelDecoder, self.sem_seg_head["pixel_decoder"])

    @property
    def predictor(self) -> BoltzFormer:
        """The decoder."""
        return cast(BoltzFormer, self.sem_seg_head["predictor"])

    def look_across(self, cross: CrossSlice) -> None:
        """Let slices see each other (Bio2Vol 2.2) in the attentions of pixel decoder and queries.

        Words have no slice axis. The discriminator is not in the network of that paper and stays as it is.
        Trained weights without it lose by it: it wants fine-tuning.

        Raises:
            ValueError: the network has fewer heads.
        """
        look_across([*self.pixel_decoder.slice_attentions(), *self.predictor.slice_attentions()], cross)
        self.cross = cross

    def encode_text(self, ids: Tensor) -> Tensor:
        """ids (P, L) int64 -> words (P, L, C), padding included."""
        encoded: Tensor = self.predictor.get_submodule("language_encoder")(ids)
        return encoded

    def features(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Image (S, 3, H, W), grey levels 0..255, to what ``PixelDecoder`` returns."""
        found: tuple[Tensor, list[Tensor]] = self.pixel_decoder(self.backbone(self.normalised(image)))
        return found

    def normalised(self, image: Tensor) -> Tensor:
        """Image (S, 3, H, W) less the mean, over the deviation: one of each for all channels, as released."""
        return (image - self.pixel_mean.mean()) / self.pixel_std.mean()

    def forward(self, image: Tensor, tokens: Tensor, masking: Masking | None = None) -> Decoded:
        """Segment slices the plain way, as released.

        Args:
            image: (S, 3, H, W) float32, grey levels 0..255: a slice, the one before and the one behind it.
            tokens: (L, P, C) of ``pad_tokens``.
            masking: what queries do not see, of S * P slices of one prompt; see ``BoltzFormer.forward``.
        """
        mask_features, levels = self.features(image)
        memory = ImageMemory([], [], [], mask_features)
        return self._refined(image, memory, self.predictor(levels, mask_features, tokens, masking))

    def encode(self, image: Tensor) -> ImageMemory:
        """Image (S, 3, H, W), grey levels 0..255, to what all prompts share."""
        results = self.pixel_decoder.pyramid(self.backbone(self.normalised(image)))
        levels, finest, last = results[:LEVELS], results[-1], self.pixel_decoder.mask_features
        for number, level in enumerate(levels):
            if not can_stride(finest, level.shape[2:], 2 << (LEVELS - 1 - number)):
                return self.predictor.encode(levels, last(finest))
        return self.predictor.encode(levels, finest, last=last)

    def decode(
        self, memory: ImageMemory, tokens: Tensor, masking: Masking | None = None, image: Tensor | None = None
    ) -> Decoded:
        """Segment slices whose ``memory`` is shared by all prompts, equal to ``forward`` up to rounding.

        Args:
            memory: of ``encode``.
            tokens: (L, P, C) of ``pad_tokens``.
            masking: see ``boltzformer.Masking``.
            image: (S, 3, H, W); only convolutions on the masks want it.
        """
        return self._refined(image, memory, self.predictor.decode_shared(memory, tokens, masking))

    def _refined(self, image: Tensor | None, memory: ImageMemory, found: Decoded) -> Decoded:
        """The result with the convolutions on its masks (S, P, H, W), where the network has them."""
        if not self.sizes.output_width or image is None:
            return found
        slices, prompts, queries = found.embedded.shape[:3]
        masks = memory.whole_logits(found.embedded.flatten(1, 2))
        seen = self.normalised(image).repeat_interleave(prompts, 0)
        refined = refine_masks(self, seen, masks.reshape(-1, queries, *masks.shape[2:]))
        return replace(found, masks=refined[:, 0].unflatten(0, (slices, prompts)))


def pad_tokens(encoded: Tensor, lengths: Tensor) -> Tensor:
    """Words of a group of prompts as the decoder takes them.

    Zeros are not masked in the decoder, so a prompt's result depends on the longest one of its group.

    Args:
        encoded: (P, L, C) of the text encoder.
        lengths: (P,) int64, words of each prompt from the first to the last of its own.

    Returns:
        (longest, P, C), zeros behind the words of each prompt.
    """
    longest = int(lengths.max())
    own = torch.arange(longest)[None] < lengths[:, None]
    return (encoded[:, :longest] * own[..., None]).transpose(0, 1)


def biomedparse_sizes_of(
    shapes: Mapping[str, tuple[int, ...]], heads: int = HEADS, edge_queries: int = 4
) -> BiomedParseSizes:
    """Sizes of a network from the shapes of its tensors, named as in these modules.

    Args:
        shapes: by name.
        heads: of every attention; no shape tells it.
        edge_queries: queries that tell the edge, of a network without convolutions on its masks, which has
            none.

    Raises:
        KeyError: a tensor that tells a size is not there.
    """

    def below(prefix: str) -> dict[str, tuple[int, ...]]:
        return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}

    output_width = shapes.get("output_deconv.weight", (0, 0))[1]
    return BiomedParseSizes(
        focal_sizes_of(below(BACKBONE)),
        pixel_sizes_of(below(PIXEL), heads),
        boltz_sizes_of(below(PREDICTOR), heads, 0 if output_width else edge_queries),
        clip_sizes_of(below(TEXT), heads),
        output_width,
    )
