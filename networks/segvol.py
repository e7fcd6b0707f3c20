"""SegVol (Du et al. 2024): a window, and texts, boxes and points, to one mask a prompt.

ViT, prompt encoder, two-way transformer and mask decoder, and CLIP's text encoder; as released, and checked
against recorded outputs of the published code. Names of parameters are the published ones, without the prefix
``module.`` of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vesal.networks.clip_pooled_text import ClipTextTransformer, pooled_sizes_of
from vesal.networks.clip_text import CLIP_BASE, ClipSizes
from vesal.networks.point_prompts import PromptEncoder
from vesal.networks.sat import count_names
from vesal.networks.segvol_decoder import SEGVOL_DECODER, Decoded, DecoderSizes, MaskDecoder
from vesal.networks.volume_vit import VOLUME_VIT, Triple, VitSizes, VolumeVit, vit_sizes_of

IMAGE, TEXT, PROMPTS, DECODER = "image_encoder.", "text_encoder.", "prompt_encoder.", "mask_decoder."
"""Where the parts stand in the names of parameters."""
CLIP = f"{TEXT}clip_text_model.text_model."
PATCH_DHW = (4, 16, 16)
"""Of the published network; no tensor's shape tells it."""


@dataclass(frozen=True)
class SegVolSizes:
    """Sizes of all parts; the published ones are ``SEGVOL``."""

    image: VitSizes
    text: ClipSizes
    decoder: DecoderSizes
    mask_width: int = 16
    """Channels of the part for masks as prompts, which is not used."""


SEGVOL = SegVolSizes(VOLUME_VIT, CLIP_BASE, SEGVOL_DECODER)


class ClipModel(nn.Module):
    """Only a level in the names."""

    def __init__(self, sizes: ClipSizes) -> None:
        super().__init__()
        self.text_model = ClipTextTransformer(sizes)


class TextEncoder(nn.Module):
    """Sentences to one vector each, in the decoder's width."""

    def __init__(self, sizes: ClipSizes, width: int) -> None:
        super().__init__()
        self.clip_text_model = ClipModel(sizes)
        self.dim_align = nn.Linear(sizes.width, width)

    def forward(self, ids: Tensor) -> Tensor:
        """ids (P, L) int64 -> (P, C)."""
        aligned: Tensor = self.dim_align(self.clip_text_model.text_model(ids))
        return aligned


class SegVol(nn.Module):
    """The whole network. Its plain form repeats the window for each prompt, its shared form does not."""

    def __init__(self, sizes: SegVolSizes = SEGVOL) -> None:
        super().__init__()
        self.sizes = sizes
        width = sizes.image.width
        self.image_encoder = VolumeVit(sizes.image)
        self.text_encoder = TextEncoder(sizes.text, width)
        self.prompt_encoder = PromptEncoder(width, sizes.image.window_dhw, sizes.mask_width)
        self.mask_decoder = MaskDecoder(sizes.decoder)

    def encode(self, image: Tensor) -> Tensor:
        """image (B, 1, d, h, w), grey levels 0..1 -> (B, C, d, h, w) of the grid."""
        encoded: Tensor = self.image_encoder(image)
        return encoded.transpose(1, 2).unflatten(2, self.sizes.image.grid_dhw)

    def encode_text(self, ids: Tensor) -> Tensor:
        """ids (P, L) int64, padded with end marks -> (P, C)."""
        encoded: Tensor = self.text_encoder(ids)
        return encoded

    def forward(
        self, embedding: Tensor, coordinates: Tensor, kinds: Tensor, text: Tensor, with_text: Tensor
    ) -> Decoded:
        """Decode N prompts in one window (1, C, d, h, w) the plain way, as released; see ``decode``."""
        sparse = self.prompt_encoder(coordinates, kinds, text)
        decoded: Decoded = self.mask_decoder(self._dense(embedding), self.places, sparse, text, with_text)
        return decoded

    def decode(
        self, embedding: Tensor, coordinates: Tensor, kinds: Tensor, text: Tensor, with_text: Tensor
    ) -> Tensor:
        """Masks of N prompts with equal numbers of tokens in one window.

        Args:
            embedding: (1, C, d, h, w) of ``encode``.
            coordinates: (N, T, 3), see ``PromptEncoder.forward``.
            kinds: (N, T) int64.
            text: (N, C), of no account where there is none.
            with_text: (N,) float32, 1 where the text counts, else 0.

        Returns:
            logits (N, 4d, 4h, 4w), equal to those of ``forward`` up to rounding.
        """
        sparse = self.prompt_encoder(coordinates, kinds, text)
        return self.mask_decoder.decode_shared(self._dense(embedding), self.places, sparse, text, with_text)

    @property
    def places(self) -> Tensor:
        """Features of the places of all patches, (1, S, C)."""
        return self.prompt_encoder.dense_places(self.sizes.image.grid_dhw)

    def _dense(self, embedding: Tensor) -> Tensor:
        """(1, C, d, h, w) -> (1, S, C), with what says that no mask is given."""
        return embedding.flatten(2).transpose(1, 2) + self.prompt_encoder.no_mask_embed.weight


def enlarged(logits: Tensor, window_dhw: Triple) -> Tensor:
    """Logits (N, d, h, w) on the voxels of the window, trilinear, as released."""
    return nn.functional.interpolate(logits[:, None], window_dhw, mode="trilinear", align_corners=False)[:, 0]


def segvol_sizes_of(
    shapes: Mapping[str, tuple[int, ...]], heads: int, text_heads: int, patch_dhw: Triple = PATCH_DHW
) -> SegVolSizes:
    """Sizes of a network from the shapes of its tensors, named as in these modules.

    Args:
        shapes: by name.
        heads: of the image encoder; no shape tells it.
        text_heads: of the text encoder; no shape tells it.
        patch_dhw: voxels of a patch; shapes tell only how many there are.

    Raises:
        KeyError: a tensor that tells a size is not there.
    """

    def below(prefix: str) -> dict[str, tuple[int, ...]]:
        return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}

    middle, *doubled = shapes[f"{DECODER}output_upscaling.1.weight"]
    d, h, w = (n // 2 for n in doubled)
    layer = f"{DECODER}transformer.layers.0."
    decoder = DecoderSizes(
        grid_dhw=(d, h, w),
        width=shapes[f"{DECODER}iou_token.weight"][1],
        middle=middle,
        final=shapes[f"{DECODER}output_upscaling.3.bias"][0],
        inner=shapes[f"{layer}mlp.lin1.bias"][0],
        cross=shapes[f"{layer}cross_attn_token_to_image.q_proj.bias"][0],
        depth=count_names(shapes, f"{DECODER}transformer.layers.{{}}.norm1.weight"),
        quality_inner=shapes[f"{DECODER}iou_prediction_head.layers.0.bias"][0],
    )
    return SegVolSizes(
        vit_sizes_of(below(IMAGE), (d, h, w), patch_dhw, heads),
        pooled_sizes_of(below(CLIP), text_heads),
        decoder,
        shapes[f"{PROMPTS}mask_downscaling.3.bias"][0],
    )


def unused_names() -> tuple[str, ...]:
    """Beginnings of the names of parameters that take no part in a mask."""
    return f"{PROMPTS}mask_downscaling.", f"{DECODER}iou_prediction_head."


def random_network(sizes: SegVolSizes, seed: int) -> SegVol:
    """A network with random weights, always the same ones for a seed."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return SegVol(sizes).eval()
