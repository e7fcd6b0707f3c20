"""BiomedParse-V as ONNX graphs: the image once a slice, sentences once a case, the decoder for any prompts.

``image``: what all prompts share of a slice, the attention's keys and values and the resized mask features
included. ``text``: token ids to words in the decoder's width, padding included. ``decoder``: the masks,
edges and existence of P prompts on S slices, with Boltzmann sampling by numbers that are an input.
``decoder_full``: the same with full attention, which has no such input. All axes but channels are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import onnx
import torch
from torch import Tensor, nn

from vesal.networks.biomedparse_v import BiomedParseV
from vesal.networks.boltzformer import LEVELS, BoltzFormer, ImageMemory, sampled_by
from vesal.weights.convert.graphs import trace

Axes = dict[int, str]


class ImageGraph(nn.Module):
    """Packed slices to what all prompts share."""

    inputs = ("image",)

    def __init__(self, network: BiomedParseV) -> None:
        super().__init__()
        self.network = network
        self.outputs = memory_names(network)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """image (S, 3, h, w) float32, grey levels 0..255 -> the tensors of ``memory_names``."""
        memory = self.network.encode(image)
        return (*memory.keys, *memory.values, *memory.features, memory.mask_features)


class TextGraph(nn.Module):
    """Token ids to words."""

    inputs, outputs = ("input_ids",), ("tokens",)

    def __init__(self, network: BiomedParseV) -> None:
        super().__init__()
        # Alone, so that the graph holds no weights of the image's side.
        self.encoder = network.predictor.get_submodule("language_encoder")

    def forward(self, input_ids: Tensor) -> Tensor:
        """input_ids (P, L) int64 -> (P, L, C)."""
        words: Tensor = self.encoder(input_ids)
        return words


class DecoderGraph(nn.Module):
    """What an image graph gave, and words, to masks, edges and existence."""

    outputs = ("mask", "edges", "existence")

    def __init__(self, network: BiomedParseV, is_sampled: bool) -> None:
        super().__init__()
        self.decoder: BoltzFormer = network.predictor
        self.last = network.pixel_decoder.mask_features
        memory = [name for name in memory_names(network) if is_sampled or not name.startswith("features_")]
        draws = [f"draws_{layer}" for layer in range(network.sizes.decoder.layers)] if is_sampled else []
        self.inputs = (*memory, "tokens", *draws)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Decode.

        Args:
            given: the tensors of ``memory_names``, words (L, P, C) padded with zeros, and the uniform numbers
                of each layer (P, S, heads, Q, h * w). With full attention neither these nor the resized mask
                features.

        Returns:
            mask and edges (P, S, h / 4, w / 4) and existence (P, S), all of them logits.
        """
        named = dict(zip(self.inputs, given, strict=True))

        def of(kind: str) -> list[Tensor]:
            return [tensor for name, tensor in named.items() if name.startswith(f"{kind}_")]

        memory = ImageMemory(of("key"), of("value"), of("features"), named["finest"], self.last)
        draws = [one.permute(1, 2, 0, 3, 4).flatten(2, 3) for one in of("draws")]
        masking = sampled_by(draws) if draws else None
        found = self.decoder.decode_shared(memory, named["tokens"], masking)
        return found.masks.transpose(0, 1), cast(Tensor, found.edges).transpose(0, 1), found.existence.t()


def memory_names(network: BiomedParseV) -> tuple[str, ...]:
    """Outputs of the image graph: keys and values of each layer, mask features of each level, and the finest
    features, which the decoder's masks bring through the last convolution.
    """
    layers = range(network.sizes.decoder.layers)
    return (
        *(f"key_{layer}" for layer in layers),
        *(f"value_{layer}" for layer in layers),
        *(f"features_{level}" for level in range(LEVELS)),
        "finest",
    )


def free_axes(name: str) -> Axes:
    """Free axes of an input or output, and their names."""
    kind, _, number = name.rpartition("_")
    if kind in ("key", "value"):
        return {0: "slices", 1: f"tokens_{int(number) % LEVELS}"}
    if kind == "features":
        return {0: "slices", 2: f"height_{number}", 3: f"width_{number}"}
    if kind == "draws":
        return {0: "prompts", 1: "slices", 4: f"tokens_{int(number) % LEVELS}"}
    return {
        "image": {0: "slices", 2: "image_height", 3: "image_width"},
        "finest": {0: "slices", 2: "height", 3: "width"},
        "input_ids": {0: "prompts", 1: "words"},
        "tokens": {0: "words", 1: "prompts"},
        "mask": {0: "prompts", 1: "slices", 2: "height", 3: "width"},
        "edges": {0: "prompts", 1: "slices", 2: "height", 3: "width"},
        "existence": {0: "prompts", 1: "slices"},
    }[name]


def biomedparse_graphs(network: BiomedParseV, path: Path) -> dict[str, onnx.ModelProto]:
    """Export a network with free numbers of slices, prompts, words and pixels.

    Args:
        network: with its weights, and without convolutions on its masks.
        path: a file for the exporter, overwritten.

    Returns:
        the graphs by role: ``image``, ``text``, ``decoder`` and ``decoder_full``; all float32. Sides of an
        image are multiples of ``side_multiple``.
    """
    network = network.eval()
    sizes, step = network.sizes, network.sizes.side_multiple
    image = torch.rand(2, sizes.backbone.channels, 2 * step, 3 * step) * 255
    with torch.no_grad():
        memory = dict(zip(memory_names(network), ImageGraph(network)(image), strict=True))
    decoder = sizes.decoder
    draws = {
        f"draws_{layer}": torch.rand(3, 2, decoder.heads, decoder.queries, memory[f"key_{layer}"].shape[1])
        for layer in range(decoder.layers)
    }
    ids = torch.randint(0, sizes.text.vocabulary, (3, sizes.text.context))
    examples = {
        "image": image,
        "input_ids": ids,
        "tokens": torch.randn(5, 3, decoder.width),
        **memory,
        **draws,
    }

    def export(module: nn.Module) -> onnx.ModelProto:
        inputs, outputs = (cast(Sequence[str], names) for names in (module.inputs, module.outputs))
        free = {name: free_axes(name) for name in (*inputs, *outputs)}
        if module.outputs == TextGraph.outputs:
            free["tokens"] = {0: "prompts", 1: "words"}
        return trace(module.eval(), [examples[name] for name in inputs], inputs, outputs, free, path)

    return {
        "image": export(ImageGraph(network)),
        "text": export(TextGraph(network)),
        "decoder": export(DecoderGraph(network, True)),
        "decoder_full": export(DecoderGraph(network, False)),
    }
