"""VoxTell (Rokuss et al. 2026): text embeddings and a window to masks, as released.

A residual encoder, a prompt decoder on its second coarsest features, and a U-Net decoder that is run for each
prompt, with maps of the prompt joined to its features at every resolution. Names of parameters are the
published ones; what the released network never runs (self-attention, `norm1`, `seg_layers`) and what its file
stores twice is not part of it.

Axes of a window are (d, h, w) with d towards the head, h towards the front, w towards the patient's right as
the released reader stores them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from vesal.networks.prompt_decoder import KeysValues, PromptDecoder
from vesal.networks.residual_encoder import ConvNorm, ResidualEncoder
from vesal.networks.unet import SLOPE

HEADS = 8
"""Of the prompt decoder's attention; no tensor's shape tells it."""
MEMORY_LEVEL = -2
"""Of the encoder's features, finest first: what the prompt decoder attends to."""


@dataclass(frozen=True)
class VoxTellSizes:
    """Sizes of all parts; the published ones are ``VOXTELL``."""

    features: tuple[int, ...]
    """Channels of the encoder's resolutions, finest first."""
    blocks: tuple[int, ...]
    """Residual blocks of each."""
    maps: int
    """Maps of the prompt that are joined to the features of each resolution but the finest."""
    width: int
    """Of the prompt decoder."""
    inner: int
    """Of its feed-forward blocks."""
    layers: int
    text: int
    """Numbers of a text embedding."""
    text_inner: int
    """Between the two layers that bring it to ``width``."""
    head_inner: int
    """Between the two layers of every head."""
    tokens: int
    """Of a window: the voxels of the features that the prompt decoder attends to."""

    @property
    def side_multiple(self) -> int:
        """Voxels that the sides of a window are multiples of."""
        return int(2 ** (len(self.features) - 1))

    @property
    def token_stride(self) -> int:
        """Voxels of a window along each axis for one token."""
        return int(2 ** (len(self.features) + MEMORY_LEVEL))


VOXTELL = VoxTellSizes(
    features=(32, 64, 128, 256, 320, 320),
    blocks=(1, 3, 4, 6, 6, 6),
    maps=32,
    width=2048,
    inner=2048,
    layers=6,
    text=2560,
    text_inner=2048,
    head_inner=2048,
    tokens=1728,
)


@dataclass(frozen=True)
class WindowMemory:
    """What all prompts share of a window."""

    coarsest: Tensor
    """(B, C, ...): the decoder's first features, before any map of a prompt is joined"""
    skips: tuple[Tensor, ...]
    """of each further resolution, coarsest first, (B, C_i, ...): the encoder's part of the convolution"""
    keys_values: tuple[KeysValues, ...]
    """of the prompt decoder's layers"""


class Upsampling(nn.Module):
    """One resolution of the decoder: names as published, where it is a list of one."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList([ConvNorm(inputs, outputs)])

    def forward(self, x: Tensor) -> Tensor:
        """Upsampled features and the encoder's, joined (B, inputs, ...) -> (B, outputs, ...)."""
        return functional.leaky_relu(self.convs[0](x), SLOPE)

    def of_skip(self, skip: Tensor) -> Tensor:
        """The encoder's part of the convolution, bias included: (B, C, ...) -> (B, outputs, ...).

        A convolution is linear in what is joined along channels, upsampled features first.
        """
        conv = self._conv()
        weight = conv.weight[:, conv.in_channels - skip.shape[1] :]
        return functional.conv3d(skip, weight, conv.bias, padding=1)

    def with_skip(self, upsampled: Tensor, of_skip: Tensor) -> Tensor:
        """The same as ``forward`` of both joined, with what ``of_skip`` gave.

        (B, inputs, ...) and (B, outputs, ...) -> (B, outputs, ...).
        """
        found = functional.conv3d(upsampled, self._conv().weight[:, : upsampled.shape[1]], padding=1)
        return functional.leaky_relu(self.convs[0].get_submodule("norm")(found + of_skip), SLOPE)

    def _conv(self) -> nn.Conv3d:
        conv = self.convs[0].get_submodule("conv")
        assert isinstance(conv, nn.Conv3d)
        return conv


class MaskDecoder(nn.Module):
    """Back to full resolution for one prompt; ``maps`` of it are joined behind the features."""

    def __init__(self, features: Sequence[int], maps: int) -> None:
        super().__init__()
        fine = list(features[-2::-1])
        inputs = [features[-1], *(count + maps for count in fine[:-1])]
        self.transpconvs = nn.ModuleList(
            nn.ConvTranspose3d(i, o, 2, 2) for i, o in zip(inputs, fine, strict=True)
        )
        self.stages = nn.ModuleList(Upsampling(2 * count, count) for count in fine)

    def forward(self, levels: Sequence[Tensor], heads: Sequence[Tensor]) -> Tensor:
        """The plain way: everything for each prompt.

        Args:
            levels: the encoder's features (B, C_i, ...), finest first.
            heads: of one prompt, finest first: (B, C), then (B, maps, C_i) of each resolution.

        Returns:
            logits (B, d, h, w).
        """
        x = levels[-1]
        for number, (upsample, stage) in enumerate(zip(self.transpconvs, self.stages, strict=True)):
            x = stage(torch.cat([upsample(x), levels[-2 - number]], 1))
            if number < len(self.stages) - 1:
                x = join_maps(x, heads[-1 - number])
        return torch.einsum("bc,bcdhw->bdhw", heads[0], x)

    def shared(self, levels: Sequence[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What all prompts share, of the encoder's features (B, C_i, ...), finest first.

        Returns:
            the first features and the encoder's parts, both as in ``WindowMemory``.
        """
        first = self.stages[0](torch.cat([self.transpconvs[0](levels[-1]), levels[-2]], 1))
        stages = zip(self.stages[1:], levels[-3::-1], strict=True)
        return first, tuple(cast(Upsampling, stage).of_skip(level) for stage, level in stages)

    def decode(self, coarsest: Tensor, skips: Sequence[Tensor], heads: Sequence[Tensor]) -> Tensor:
        """The same as ``forward`` with what ``shared`` gave; heads of one prompt -> logits (B, d, h, w)."""
        x = coarsest
        for number, of_skip in enumerate(skips, 1):
            x = self.transpconvs[number](join_maps(x, heads[-number]))
            x = cast(Upsampling, self.stages[number]).with_skip(x, of_skip)
        return torch.einsum("bc,bcdhw->bdhw", heads[0], x)


class VoxTell(nn.Module):
    """The whole network. Its plain form decodes everything for each prompt, its shared form does not."""

    pos_embed: Tensor

    def __init__(self, sizes: VoxTellSizes = VOXTELL) -> None:
        super().__init__()
        self.sizes = sizes
        features, width = sizes.features, sizes.width
        self.encoder = ResidualEncoder(1, features, sizes.blocks)
        self.decoder = MaskDecoder(features, sizes.maps)
        self.transformer_decoder = PromptDecoder(width, HEADS, sizes.inner, sizes.layers)
        outputs = (features[0], *(sizes.maps * count for count in features[1:-1]))
        self.project_to_decoder_channels = nn.ModuleList(
            _two_layers(width, sizes.head_inner, count) for count in outputs
        )
        self.project_bottleneck_embed = _two_layers(features[MEMORY_LEVEL], width, width)
        self.project_text_embed = _two_layers(sizes.text, sizes.text_inner, width)
        self.register_buffer("pos_embed", torch.zeros(sizes.tokens, 1, width))

    def queries(self, text: Tensor) -> Tensor:
        """Text embeddings (B, N, T), once a case -> (B, N, E)."""
        found: Tensor = self.project_text_embed(text)
        return found

    def tokens(self, levels: Sequence[Tensor]) -> Tensor:
        """The encoder's features, finest first -> tokens (B, a * b * c, E).

        The released order counts along h, then w, then d; that of ``pos_embed`` too.
        """
        ordered = levels[MEMORY_LEVEL].permute(0, 3, 4, 2, 1).flatten(1, 3)
        found: Tensor = self.project_bottleneck_embed(ordered)
        return found

    def heads(self, embeddings: Tensor) -> list[Tensor]:
        """What comes out of the prompt decoder (B, N, E) -> for each resolution but the coarsest, finest
        first: (B, N, C), then (B, N, maps, C_i).
        """
        finest, *others = (head(embeddings) for head in self.project_to_decoder_channels)
        return [finest, *(found.unflatten(-1, (self.sizes.maps, -1)) for found in others)]

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        """Segment one window the plain way, as released.

        Args:
            image: (B, 1, d, h, w) float32, normalised, of as many voxels as ``sizes.tokens`` are for.
            text: (B, N, T) float32.

        Returns:
            logits (B, N, d, h, w).
        """
        levels = self.encoder(image)
        memory = self.keys_values(levels)
        heads = self.heads(self.transformer_decoder(self.queries(text), memory))
        masks = [self.decoder(levels, [head[:, n] for head in heads]) for n in range(text.shape[1])]
        return torch.stack(masks, 1)

    def encode(self, image: Tensor) -> WindowMemory:
        """Image (B, 1, d, h, w) to what all prompts share."""
        levels = self.encoder(image)
        return WindowMemory(*self.decoder.shared(levels), tuple(self.keys_values(levels)))

    def decode(self, memory: WindowMemory, queries: Tensor) -> Tensor:
        """The same as ``forward``, with what ``encode`` and ``queries`` gave -> logits (B, N, d, h, w)."""
        heads = self.heads(self.transformer_decoder(queries, memory.keys_values))
        masks = [
            self.decoder.decode(memory.coarsest, memory.skips, [head[:, n] for head in heads])
            for n in range(queries.shape[1])
        ]
        return torch.stack(masks, 1)

    def keys_values(self, levels: Sequence[Tensor]) -> list[KeysValues]:
        """Of every layer of the prompt decoder, each (B, T, E), from the encoder's features, finest first."""
        return self.transformer_decoder.keys_values(self.tokens(levels), self.pos_embed.transpose(0, 1))


def join_maps(x: Tensor, head: Tensor) -> Tensor:
    """Features (B, C, ...) with the maps of a prompt behind them: its vectors (B, maps, C) times them."""
    return torch.cat([x, torch.einsum("bmc,bcdhw->bmdhw", head, x)], 1)


def random_network(sizes: VoxTellSizes, seed: int) -> VoxTell:
    """A network with random weights and positions, always the same ones for a seed."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        network = VoxTell(sizes).eval()
        network.pos_embed.normal_()
        return network


def voxtell_sizes_of(shapes: Mapping[str, Sequence[int]]) -> VoxTellSizes:
    """Sizes of a network by the shapes of its tensors, published names; raises KeyError for a missing one."""
    count = 1 + max(_index(name, "encoder.stages.") for name in shapes)
    features = tuple(shapes[f"encoder.stages.{i}.blocks.0.conv1.conv.weight"][0] for i in range(count))
    blocks = tuple(
        1 + max(_index(name, f"encoder.stages.{i}.blocks.") for name in shapes) for i in range(count)
    )
    layer, head = "transformer_decoder.layers.", "project_to_decoder_channels."
    return VoxTellSizes(
        features,
        blocks,
        shapes[f"{head}1.2.weight"][0] // features[1],
        shapes["transformer_decoder.norm.weight"][0],
        shapes[f"{layer}0.linear1.weight"][0],
        1 + max(_index(name, layer) for name in shapes),
        shapes["project_text_embed.0.weight"][1],
        shapes["project_text_embed.0.weight"][0],
        shapes[f"{head}0.0.weight"][0],
        shapes["pos_embed"][0],
    )


def _index(name: str, prefix: str) -> int:
    """The number behind a prefix; -1 for a name that does not begin with it."""
    return int(name[len(prefix) :].split(".", 1)[0]) if name.startswith(prefix) else -1


def _two_layers(inputs: int, inner: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, inner), nn.GELU(), nn.Linear(inner, outputs))
