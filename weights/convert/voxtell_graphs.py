"""VoxTell as ONNX graphs: the window once, a case's texts once, and a decoder that is run for each prompt.

``window``: what all prompts share of a window: the decoder's first features, the encoder's part of each later
convolution, keys and values of the prompt decoder. ``text``: text embeddings to queries. ``prompt``: one
query on an encoded window to logits. Two of a window's sides may be longer than the third; their product is
fixed by the stored positions.

Biases in front of a norm are left out, which removes them, and norms take their statistics axis by axis
(``norms``).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from vesal.networks.residual_encoder import ConvNorm
from vesal.networks.unet import SLOPE
from vesal.networks.voxtell import Upsampling, VoxTell, join_maps
from vesal.weights.convert.graphs import trace
from vesal.weights.convert.norms import AxisNorm

Sides = tuple[int, int, int]


class WindowGraph(nn.Module):
    """A window to what all prompts share of it."""

    inputs = ("image",)

    def __init__(self, network: VoxTell) -> None:
        """``network`` is of ``exported_form``."""
        super().__init__()
        self.network = network
        self.outputs = memory_names(network)
        features = network.sizes.features[-3::-1]
        self.of_skip = nn.ModuleList(
            _part_of(_conv(stage), slice(count, None))
            for stage, count in zip(network.decoder.stages[1:], features, strict=True)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """image (1, 1, d, h, w) float32, normalised -> the tensors of ``memory_names``."""
        network = self.network
        levels = network.encoder(image)
        decoder = network.decoder
        coarsest = decoder.stages[0](torch.cat([decoder.transpconvs[0](levels[-1]), levels[-2]], 1))
        skips = [conv(level) for conv, level in zip(self.of_skip, levels[-3::-1], strict=True)]
        memory = network.keys_values(levels)
        return (coarsest, *skips, *(keys for keys, _ in memory), *(values for _, values in memory))


class TextGraph(nn.Module):
    """Text embeddings to queries."""

    inputs, outputs = ("text",), ("queries",)

    def __init__(self, network: VoxTell) -> None:
        super().__init__()
        self.project = network.project_text_embed

    def forward(self, text: Tensor) -> Tensor:
        """text (1, N, T) float32 -> (1, N, E)."""
        found: Tensor = self.project(text)
        return found


class PromptGraph(nn.Module):
    """What a window graph gave, and a query, to logits."""

    outputs = ("logits",)

    def __init__(self, network: VoxTell) -> None:
        """``network`` is of ``exported_form``."""
        super().__init__()
        self.network = network
        self.inputs = (*memory_names(network), "queries")
        features = network.sizes.features[-3::-1]
        self.of_upsampled = nn.ModuleList(
            _part_of(_conv(stage), slice(count))
            for stage, count in zip(network.decoder.stages[1:], features, strict=True)
        )

    def forward(self, *given: Tensor) -> Tensor:
        """The tensors of ``memory_names`` and a query (1, 1, E) -> logits (1, d, h, w)."""
        network, named = self.network, dict(zip(self.inputs, given, strict=True))
        layers = range(network.sizes.layers)
        memory = [(named[f"key_{i}"], named[f"value_{i}"]) for i in layers]
        heads = [head[:, 0] for head in network.heads(network.transformer_decoder(named["queries"], memory))]
        x = named["coarsest"]
        for number, conv in enumerate(self.of_upsampled, 1):
            upsampled = network.decoder.transpconvs[number](join_maps(x, heads[-number]))
            norm = _norm(network.decoder.stages[number])
            x = functional.leaky_relu(norm(conv(upsampled) + named[f"skip_{number}"]), SLOPE)
        return torch.einsum("bc,bcdhw->bdhw", heads[0], x)


def memory_names(network: VoxTell) -> tuple[str, ...]:
    """Outputs of the window graph: the decoder's first features, the encoder's part of each convolution after
    them, and keys and values of each layer.
    """
    layers = range(network.sizes.layers)
    skips = (f"skip_{number}" for number in range(1, len(network.decoder.stages)))
    return ("coarsest", *skips, *(f"key_{i}" for i in layers), *(f"value_{i}" for i in layers))


@torch.no_grad()
def exported_form(network: VoxTell) -> VoxTell:
    """A copy of ``network`` as it is exported: exact norms, and no biases in front of them."""
    network = copy.deepcopy(network).eval()
    for module in network.modules():
        if isinstance(module, ConvNorm):
            module.conv.bias = None
            module.norm = AxisNorm(module.norm)  # type: ignore[assignment]
    return network


def voxtell_graphs(network: VoxTell, window: Sides, path: Path) -> dict[str, onnx.ModelProto]:
    """Export a network for windows of one shape, with free numbers of texts.

    Args:
        network: with its weights.
        window: (d, h, w) of as many tokens as its positions are for.
        path: a file for the exporter, overwritten.

    Returns:
        the graphs by role: ``window``, ``text`` and ``prompt``, with inputs and outputs as ``WindowGraph``,
        ``TextGraph`` and ``PromptGraph`` name them; all float32.
    """
    network = exported_form(network)
    image = torch.randn(1, 1, *window)
    with torch.no_grad():
        memory = dict(zip(memory_names(network), WindowGraph(network)(image), strict=True))
    sizes = network.sizes
    examples = {
        "image": image,
        "text": torch.randn(1, 3, sizes.text),
        "queries": torch.randn(1, 1, sizes.width),
        **memory,
    }

    def export(module: nn.Module) -> onnx.ModelProto:
        inputs, outputs = (cast(Sequence[str], names) for names in (module.inputs, module.outputs))
        free = {"text": {1: "prompts"}, "queries": {1: "prompts"}} if outputs == TextGraph.outputs else {}
        return trace(module.eval(), [examples[name] for name in inputs], inputs, outputs, free, path)

    return {
        "window": export(WindowGraph(network)),
        "text": export(TextGraph(network)),
        "prompt": export(PromptGraph(network)),
    }


def _conv(stage: nn.Module) -> nn.Conv3d:
    conv = cast(Upsampling, stage).convs[0].get_submodule("conv")
    assert isinstance(conv, nn.Conv3d)
    return conv


def _norm(stage: nn.Module) -> nn.Module:
    return cast(Upsampling, stage).convs[0].get_submodule("norm")


def _part_of(conv: nn.Conv3d, channels: slice) -> nn.Conv3d:
    """The convolution of some of its input channels, without a bias."""
    weight = conv.weight[:, channels].contiguous()
    part = nn.Conv3d(weight.shape[1], weight.shape[0], 3, padding=1, bias=False)
    part.weight = nn.Parameter(weight)
    return part
