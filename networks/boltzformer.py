"""BoltzFormer: mask queries and words that look at the image through random masks, and a query for existence.

Zhao et al. 2025 (reference 27 of the BiomedParse-V paper), with the Independent Segmentation Discriminator of
BiomedParse-V (section 3.4), as released: strides 32, 16, 8; the discriminator reads queries and words after
the self-attention of a layer, before the queries' feed-forward block. Parameter names are the published ones.

Queries have a slice axis S and a prompt axis P. What belongs to the image has the slice axis alone
(``ImageMemory``), so prompts of a slice share it. The published code repeats the image for each prompt, which
is the same with S * P slices of one prompt each (``BoltzFormer.forward``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from vesal.networks.boltzmann import masked_chance, reset_rows
from vesal.networks.last_convolution import composed_logits, resized_convolution
from vesal.networks.masked_attention import KEY, QUERY, VALUE, MaskedAttention
from vesal.networks.sat import count_names
from vesal.networks.sine_positions import sine_positions

LEVELS = 3
"""Resolutions that the layers attend to in turn, coarsest first: strides 32, 16, 8."""

Masking = Callable[[int, Tensor], Tensor | None]
"""Of a layer's number and its queries' mask logits (S, P * Q, HW) to what they do not see: (S, heads, P * Q,
HW) bool, never a whole row; None for full attention."""


@dataclass(frozen=True)
class BoltzSizes:
    """Sizes of a decoder; those of BiomedParse-V are ``BOLTZ_LARGE``."""

    width: int
    queries: int
    layers: int
    feedforward: int
    heads: int = 8
    """No tensor's shape tells it, and not the next."""
    edge_queries: int = 4
    """The last queries tell the edge, the others the mask."""


BOLTZ_LARGE = BoltzSizes(512, 16, 9, 2048)


class CrossLayer(nn.Module):
    """Attention to what is projected already, with a shortcut, then a norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.multihead_attn, self.norm = MaskedAttention(width, heads), nn.LayerNorm(width)

    def forward(
        self,
        x: Tensor,
        placed: Tensor,
        key: Tensor,
        value: Tensor,
        masked: Tensor | None = None,
        slices: int | None = None,
    ) -> Tensor:
        """x (B, N, C), placed: x with positions, key and value (B, T, C) projected -> (B, N, C)."""
        query = self.multihead_attn.project(QUERY, placed)
        attended: Tensor = self.norm(x + self.multihead_attn.attend(query, key, value, masked, slices))
        return attended


class SelfLayer(nn.Module):
    """Self-attention with positions in query and key, a shortcut, then a norm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.self_attn, self.norm = MaskedAttention(width, heads), nn.LayerNorm(width)

    def forward(self, x: Tensor, positions: Tensor, slices: int | None = None) -> Tensor:
        """x (B, T, C), positions (B, T, C) -> (B, T, C)."""
        attended: Tensor = self.norm(x + self.self_attn.self_attend(x + positions, x, slices))
        return attended


class FeedForward(nn.Module):
    """Two dense layers with ReLU between them, a shortcut, then a norm."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """x (any shape, C last) -> the same shape."""
        mapped: Tensor = self.norm(x + self.linear2(functional.relu(self.linear1(x))))
        return mapped


class MaskEmbed(nn.Module):
    """Three dense layers with ReLU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """x (any shape, C last) -> the same shape."""
        first, second, last = self.layers
        mapped: Tensor = last(functional.relu(second(functional.relu(first(x)))))
        return mapped


@dataclass(frozen=True)
class ImageMemory:
    """What queries see of the image."""

    keys: Sequence[Tensor]
    """Of every layer: (S, HW, C), projected, positions in them."""
    values: Sequence[Tensor]
    """Of every layer: (S, HW, C), projected."""
    features: Sequence[Tensor]
    """Mask features at the size of each level: (S, C, h, w)."""
    mask_features: Tensor
    """(S, C, H, W)."""
    last: nn.Conv2d | None = None
    """What ``mask_features`` have still to go through, see ``last_convolution``."""
    is_resized_late: bool = False
    """Whether masks of a level are made at the size of ``mask_features`` and then resized, as released;
    resizing the features comes to the same."""

    def level_logits(self, embedded: Tensor, level: int) -> Tensor:
        """Mask embeddings (S, N, C) -> mask logits (S, N, HW) at the size of a level."""
        features = self.features[level]
        if not self.is_resized_late:
            return embedded @ features.flatten(2)
        whole = self.whole_logits(embedded)
        return resize_features(whole, features.shape[2:]).flatten(2)

    def whole_logits(self, embedded: Tensor) -> Tensor:
        """Mask embeddings (S, N, C) -> mask logits (S, N, H, W)."""
        if self.last is not None:
            return composed_logits(self.last, embedded, self.mask_features)
        return mask_logits(embedded, self.mask_features)


@dataclass(frozen=True)
class Decoded:
    """Result of a decoder for S slices and P prompts."""

    masks: Tensor
    """(S, P, H, W) logits: mean of all queries but those of the edge."""
    edges: Tensor | None
    """(S, P, H, W) logits; None where no query tells the edge."""
    existence: Tensor
    """(S, P) logits: whether the slice shows what the prompt asks for."""
    embedded: Tensor
    """(S, P, Q, C) mask embeddings of all queries."""


class BoltzFormer(nn.Module):
    """The decoder, without its text encoder."""

    def __init__(self, sizes: BoltzSizes = BOLTZ_LARGE) -> None:
        super().__init__()
        self.sizes = sizes
        width, heads, inner = sizes.width, sizes.heads, sizes.feedforward
        self.class_embed = nn.Parameter(torch.zeros(width, width))  # published, and used nowhere
        self.query_feat_ = nn.Embedding(sizes.queries, width)
        self.query_embed_ = nn.Embedding(sizes.queries, width)
        self.level_embed = nn.Embedding(LEVELS, width)
        self.initial_self_attention_layer = SelfLayer(width, heads)
        self.initial_ffn_layer = FeedForward(width, inner)
        each = range(sizes.layers)
        self.transformer_cross_attention_layers = nn.ModuleList(CrossLayer(width, heads) for _ in each)
        self.transformer_self_attention_layers = nn.ModuleList(SelfLayer(width, heads) for _ in each)
        self.transformer_ffn_layers = nn.ModuleList(FeedForward(width, inner) for _ in each)
        self.decoder_norm, self.mask_embed = nn.LayerNorm(width), MaskEmbed(width)
        self.classifier_query = nn.Embedding(1, width)
        self.classifier_cross_attention_layers = nn.ModuleList(CrossLayer(width, heads) for _ in each)
        self.classifier_ffn_layers = nn.ModuleList(FeedForward(width, inner) for _ in each)
        self.classifier = nn.Linear(width, 1)

    def slice_attentions(self) -> list[MaskedAttention]:
        """Those that can look at other slices: of queries to the image, and to each other and their words."""
        alone = [self.initial_self_attention_layer, *self.transformer_self_attention_layers]
        image = [_attention(layer) for layer in self.transformer_cross_attention_layers]
        return [*image, *(cast(SelfLayer, layer).self_attn for layer in alone)]

    def forward(
        self, levels: Sequence[Tensor], mask_features: Tensor, tokens: Tensor, masking: Masking | None = None
    ) -> Decoded:
        """Decode with the image repeated for each prompt, as released.

        Args:
            levels: (S, C, h, w) of each level, coarsest first.
            mask_features: (S, C, H, W).
            tokens: (L, P, C) words, padded with zeros to the longest prompt.
            masking: sees S * P slices, slice by slice, of one prompt each.
        """
        slices, prompts = mask_features.shape[0], tokens.shape[1]
        repeated = [x.repeat_interleave(prompts, 0) for x in (*levels, mask_features)]
        memory = self.encode(repeated[:-1], repeated[-1], is_resized_late=True)
        found = self.decode(memory, tokens.transpose(0, 1).repeat(slices, 1, 1), masking, slices)
        shape = (slices, prompts)
        masks, existence, embedded = (
            x.unflatten(0, shape)[:, :, 0] for x in (found.masks, found.existence, found.embedded)
        )
        edges = None if found.edges is None else found.edges.unflatten(0, shape)[:, :, 0]
        return Decoded(masks, edges, existence, embedded)

    def decode_shared(self, memory: ImageMemory, tokens: Tensor, masking: Masking | None = None) -> Decoded:
        """As ``forward``, with what ``encode`` made once for all prompts (L, P, C)."""
        words = tokens.transpose(0, 1)[None].expand(memory.mask_features.shape[0], -1, -1, -1)
        return self.decode(memory, words.flatten(0, 1), masking)

    def encode(
        self,
        levels: Sequence[Tensor],
        mask_features: Tensor,
        is_resized_late: bool = False,
        last: nn.Conv2d | None = None,
    ) -> ImageMemory:
        """What all prompts share.

        Args:
            levels: (S, C, h, w) of each level, coarsest first.
            mask_features: (S, C, H, W).
            is_resized_late: see ``ImageMemory``.
            last: a convolution that ``mask_features`` have still to go through; sides of levels are an
                eighth, a fourth and a half of H and W.
        """
        sources = [
            level.flatten(2).transpose(1, 2) + self.level_embed.weight[number]
            for number, level in enumerate(levels)
        ]
        placed = [
            source + sine_positions(level.shape[2], level.shape[3], self.sizes.width).to(source)
            for source, level in zip(sources, levels, strict=True)
        ]
        attentions = [_attention(layer) for layer in self.transformer_cross_attention_layers]
        return ImageMemory(
            [attention.project(KEY, placed[i % LEVELS]) for i, attention in enumerate(attentions)],
            [attention.project(VALUE, sources[i % LEVELS]) for i, attention in enumerate(attentions)],
            [
                level
                if is_resized_late
                else resize_features(mask_features, level.shape[2:])
                if last is None
                else resized_convolution(last, mask_features, 2 << (LEVELS - 1 - number))
                for number, level in enumerate(levels)
            ],
            mask_features,
            last,
            is_resized_late,
        )

    def decode(
        self, memory: ImageMemory, words: Tensor, masking: Masking | None = None, run: int | None = None
    ) -> Decoded:
        """Decode words (S * P, L, C), which are a copy for each slice; ``run`` of S are different ones."""
        slices, width, count = memory.mask_features.shape[0], self.sizes.width, self.sizes.queries
        run = slices if run is None else run
        own = self.query_feat_.weight.expand(words.shape[0], -1, -1)
        place = self.query_embed_.weight.expand(words.shape[0], -1, -1)
        positions = torch.cat([place, words], 1)
        x = self.initial_self_attention_layer(torch.cat([own, words], 1), positions, run)
        queries, words = self.initial_ffn_layer(x[:, :count]), x[:, count:]
        verdict = self.classifier_query.weight.expand(words.shape[0], -1, -1)
        for number in range(self.sizes.layers):
            # All prompts of a slice beside each other: they see the same keys.
            seeing, placed = (x.reshape(slices, -1, width) for x in (queries, queries + place))
            masked = None
            if masking is not None:
                logits = memory.level_logits(self._mask_embeddings(seeing), number % LEVELS)
                masked = masking(number, logits)
            layer = self.transformer_cross_attention_layers[number]
            seeing = layer(seeing, placed, memory.keys[number], memory.values[number], masked, run)
            x = torch.cat([seeing.reshape(-1, count, width), words], 1)
            x = self.transformer_self_attention_layers[number](x, positions, run)
            verdict = self._discriminate(number, verdict, x, x + positions)
            queries, words = self.transformer_ffn_layers[number](x[:, :count]), x[:, count:]
        embedded = self._mask_embeddings(queries)
        masks = self._mean_masks(embedded.reshape(slices, -1, count, width), memory)
        return Decoded(
            *masks,
            self.classifier(verdict[:, 0]).reshape(slices, -1),
            embedded.reshape(slices, -1, count, width),
        )

    def _mask_embeddings(self, queries: Tensor) -> Tensor:
        """queries (B, N, C) -> mask embeddings (B, N, C)."""
        embedded: Tensor = self.mask_embed(self.decoder_norm(queries))
        return embedded

    def _mean_masks(self, embedded: Tensor, memory: ImageMemory) -> tuple[Tensor, Tensor | None]:
        """Masks and edges (S, P, H, W) of embeddings (S, P, Q, C): the mean of masks is that of the means."""
        split = self.sizes.queries - self.sizes.edge_queries
        if not self.sizes.edge_queries:
            return memory.whole_logits(embedded.mean(2)), None
        means = torch.stack([embedded[:, :, :split].mean(2), embedded[:, :, split:].mean(2)], 1)
        both = memory.whole_logits(means.flatten(1, 2))
        slices, _, height, width = both.shape
        both = both.reshape(slices, 2, -1, height, width)
        return both[:, 0], both[:, 1]

    def _discriminate(self, number: int, verdict: Tensor, x: Tensor, placed: Tensor) -> Tensor:
        """One layer of the discriminator: verdict (B, 1, C), queries and words x (B, T, C) -> (B, 1, C)."""
        layer = self.classifier_cross_attention_layers[number]
        attention = _attention(layer)
        key, value = attention.project(KEY, placed), attention.project(VALUE, x)
        judged: Tensor = self.classifier_ffn_layers[number](layer(verdict, verdict, key, value))
        return judged


def _attention(layer: nn.Module) -> MaskedAttention:
    """The attention of a ``CrossLayer``."""
    return cast(MaskedAttention, layer.multihead_attn)


def sampled_by(draws: Sequence[Tensor]) -> Masking:
    """Boltzmann sampling by given numbers.

    Args:
        draws: of every layer, (S, heads, P * Q, HW) float32, uniform in 0..1; a token is masked where its
            number is below the chance of that. Negative numbers mask all, which resets a row: full attention.
    """

    def masking(number: int, logits: Tensor) -> Tensor:
        return reset_rows(draws[number] < masked_chance(logits, number)[:, None])

    return masking


def mask_logits(embedded: Tensor, features: Tensor) -> Tensor:
    """Mask embeddings (S, N, C) times features (S, C, h, w) -> (S, N, h, w)."""
    slices, _, height, width = features.shape
    return (embedded @ features.flatten(2)).reshape(slices, -1, height, width)


def resize_features(features: Tensor, shape: Sequence[int]) -> Tensor:
    """features (S, C, H, W) to (S, C, *shape): bilinear without antialiasing."""
    return functional.interpolate(features, tuple(shape), mode="bilinear", align_corners=False)


def boltz_sizes_of(
    shapes: Mapping[str, tuple[int, ...]], heads: int = 8, edge_queries: int = 4
) -> BoltzSizes:
    """Sizes of a decoder from the shapes of its tensors, named as in these modules.

    Raises:
        KeyError: a tensor that tells a size is not there.
    """
    queries, width = shapes["query_feat_.weight"]
    return BoltzSizes(
        width=width,
        queries=queries,
        layers=count_names(shapes, "transformer_ffn_layers.{}.linear1.weight"),
        feedforward=shapes["transformer_ffn_layers.0.linear1.weight"][0],
        heads=heads,
        edge_queries=edge_queries,
    )
