"""VoxTell as ONNX graphs: the window once, a case's texts once, and a decoder that is run for each prompt.

``window``: what all prompts share of a window: the decoder's first features, the encoder's part of each later
convolution, keys and values of the prompt decoder. ``text``: text embeddings to queries. ``prompt``: one
query on an encoded window to logits. Two of a window's sides may be longer than the third; their product is
fixed by the stored positions.

Biases in front of a norm are left out, which removes them, and norms take their statistics axis by axis
(``norms``). Graphs are traced at the smallest window and then given the shapes of theirs: a window of
192 x 192 x 192 would have to be run for it, which takes 5 GB.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import cast

import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional

from vesal.networks.masked_attention import MaskedAttention
from vesal.networks.prompt_decoder import PromptLayer
from vesal.networks.residual_encoder import ConvNorm
from vesal.networks.unet import SLOPE
from vesal.networks.voxtell import Upsampling, VoxTell, join_maps
from vesal.weights.convert.graphs import trace
from vesal.weights.convert.norms import AxisNorm

Sides = tuple[int, int, int]
WINDOW, TEXT, PROMPT = "window", "text", "prompt"
"""Roles of the graphs."""
POSITIONS, MEMORY = "pos_embed", ("key_", "value_")
LINEAR = (
    "transformer_decoder.",
    "project_to_decoder_channels.",
    "project_text_embed.",
    "project_bottleneck_embed.",
)
"""What the names of linear layers begin with, of all parts that have some, largest first."""
SIDES = {2: "depth", 3: "height", 4: "width"}


class SplitAttention(MaskedAttention):
    """Attention whose projections are layers of their own.

    A graph holds those that it uses, and each can be stored in 8 bits, which a part of a matrix cannot.
    """

    def __init__(self, attention: MaskedAttention) -> None:
        """Share the tensors of ``attention``."""
        nn.Module.__init__(self)
        self.heads, self.out_proj = attention.heads, attention.out_proj
        self.parts = nn.ModuleList()
        parts = zip(attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True)
        for weight, bias in parts:
            layer = nn.Linear(1, 1)
            layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
            self.parts.append(layer)

    def project(self, part: int, x: Tensor) -> Tensor:
        """x (B, T, E) -> (B, T, E), see ``MaskedAttention``."""
        projected: Tensor = self.parts[part](x)
        return projected


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
        # Named as in the network.
        self.project_text_embed = network.project_text_embed

    def forward(self, text: Tensor) -> Tensor:
        """text (1, N, T) float32 -> (1, N, E)."""
        found: Tensor = self.project_text_embed(text)
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
    return dict(each_graph(network, window, path))


def each_graph(network: VoxTell, window: Sides, path: Path) -> Iterator[tuple[str, onnx.ModelProto]]:
    """As ``voxtell_graphs``, one after the other: of the published size each of two takes 0.7 GB."""
    side = network.sizes.side_multiple
    smallest = (side, side, side)
    small = exported_form(cut_positions(network, window, smallest))
    examples = {name: torch.randn(shape) for name, shape in shapes_of(small, smallest).items()}
    shapes = shapes_of(network, window)
    roles: dict[str, type[nn.Module]] = {WINDOW: WindowGraph, TEXT: TextGraph, PROMPT: PromptGraph}
    for role, kind in roles.items():
        module = kind(small).eval()
        inputs, outputs = (cast(Sequence[str], names) for names in (module.inputs, module.outputs))
        free = {name: _free_axes(name, len(shapes[name])) for name in (*inputs, *outputs)}
        graph = trace(module, [examples[name] for name in inputs], inputs, outputs, free, path)
        if role != TEXT:
            _set_shapes(graph, shapes, network.pos_embed)
        yield role, graph


def smaller_graph(stored: Path, path: Path, network: VoxTell, window: Sides, part: Sides) -> None:
    """Write a stored graph again for a part of its windows; both share the file of weights.

    Args:
        stored: a graph of ``voxtell_graphs``, its large tensors moved out of it.
        path: beside it.
        network: it was made of, for windows of the shape ``window``.
        window: (d, h, w).
        part: (d, h, w), see ``cut_positions``.
    """
    graph = onnx.load(str(stored), load_external_data=False)
    small = cut_positions(network, window, part)
    _set_shapes(graph, shapes_of(small, part), small.pos_embed)
    onnx.save(graph, str(path))


def shapes_of(network: VoxTell, window: Sides, texts: int = 1) -> dict[str, tuple[int, ...]]:
    """Shapes of all inputs and outputs of the graphs, by name."""
    sizes = network.sizes
    tokens = (1, math.prod(grid_of(network, window)), sizes.width)
    sides = [tuple(side // 2**level for side in window) for level in range(len(sizes.features))]
    coarsest, *skips = zip(sizes.features[-2::-1], sides[-2::-1], strict=True)
    features = {"coarsest": coarsest, **{f"skip_{n}": skip for n, skip in enumerate(skips, 1)}}
    memory = {f"{kind}_{layer}": tokens for layer in range(sizes.layers) for kind in ("key", "value")}
    return {
        "image": (1, 1, *window),
        "text": (1, texts, sizes.text),
        "queries": (1, texts, sizes.width),
        "logits": (1, *window),
        **{name: (1, channels, *grid) for name, (channels, grid) in features.items()},
        **memory,
    }


def grid_of(network: VoxTell, window: Sides) -> Sides:
    """Tokens along each side of a window (d, h, w)."""
    d, h, w = (side // network.sizes.token_stride for side in window)
    return d, h, w


def cut_positions(network: VoxTell, window: Sides, part: Sides) -> VoxTell:
    """A network for a part of its windows, with the same weights: positions are those of the first corner.

    Args:
        network: for windows of the shape ``window``.
        window: (d, h, w).
        part: (d, h, w), no side longer than the window's.
    """
    (d, h, w), (to_d, to_h, to_w) = grid_of(network, window), grid_of(network, part)
    smaller = _sharing(network)
    # Stored along h, then w, then d.
    positions = network.pos_embed.view(h, w, d, 1, -1)[:to_h, :to_w, :to_d]
    smaller.pos_embed = positions.reshape(to_h * to_w * to_d, 1, -1)
    smaller.sizes = replace(network.sizes, tokens=len(smaller.pos_embed))
    return smaller


@torch.no_grad()
def exported_form(network: VoxTell) -> VoxTell:
    """A network as it is exported, which shares its tensors with ``network``: exact norms, no biases in front
    of them, and a layer for each projection.
    """
    network = _sharing(network).eval()
    for module in network.modules():
        if isinstance(module, ConvNorm):
            module.conv.bias = None
            module.norm = AxisNorm(module.norm)  # type: ignore[assignment]
    for layer in network.transformer_decoder.layers:
        layer.multihead_attn = SplitAttention(cast(PromptLayer, layer).multihead_attn)
    return network


def _sharing(network: VoxTell) -> VoxTell:
    """A copy of the modules, and none of the tensors: of the published size these take 1.4 GB."""
    tensors = chain(network.parameters(), network.buffers())
    return copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})


def _free_axes(name: str, axes: int) -> dict[int, str]:
    """What of an input or output with so many axes is free while a graph is traced."""
    if axes == 3:
        return {1: "tokens" if name.startswith(MEMORY) else "prompts"}
    return {at - 5 + axes: side for at, side in SIDES.items()}


def _set_shapes(graph: onnx.ModelProto, shapes: Mapping[str, Sequence[int]], positions: Tensor) -> None:
    """Make a graph with free sides one for a window, in place.

    Args:
        graph: traced at another window.
        shapes: of all its inputs and outputs.
        positions: of the window, (T, 1, E).
    """
    # What the exporter found out in between was of the other window.
    del graph.graph.value_info[:]
    for value in (*graph.graph.input, *graph.graph.output):
        kind = value.type.tensor_type.elem_type
        value.type.CopyFrom(onnx.helper.make_tensor_type_proto(kind, shapes[value.name]))
    for stored in graph.graph.initializer:
        if stored.name.endswith(POSITIONS):
            stored.CopyFrom(onnx.numpy_helper.from_array(positions.numpy(), stored.name))


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
