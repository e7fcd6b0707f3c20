"""The decoder of one prompt as released, as a graph: `benchmarks.voxtell` sets a further prompt beside it."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from vesal.networks.voxtell import VoxTell
from vesal.weights.convert.graphs import AXES, trace
from vesal.weights.convert.voxtell_graphs import Sides, cut_positions, exported_form, memory_names, shapes_of


class DecoderGraph(nn.Module):
    """The encoder's features, keys, values and a query to logits: nothing was computed beforehand."""

    outputs = ("logits",)

    def __init__(self, network: VoxTell) -> None:
        """``network`` is of ``exported_form``."""
        super().__init__()
        self.network = network
        self.levels = tuple(f"level_{n}" for n in range(len(network.sizes.features)))
        memory = [name for name in memory_names(network) if name.startswith(("key_", "value_"))]
        self.inputs = (*self.levels, *memory, "queries")

    def forward(self, *given: Tensor) -> Tensor:
        """Features, finest first, (1, C, ...), keys and values (1, T, E), a query -> logits (1, d, h, w)."""
        network, named = self.network, dict(zip(self.inputs, given, strict=True))
        layers = range(network.sizes.layers)
        memory = [(named[f"key_{i}"], named[f"value_{i}"]) for i in layers]
        heads = [head[:, 0] for head in network.heads(network.transformer_decoder(named["queries"], memory))]
        return network.decoder([named[name] for name in self.levels], heads)


def decoder_graph(network: VoxTell, window: Sides, path: Path) -> onnx.ModelProto:
    """Export it, with free sides; the file at ``path`` is overwritten."""
    side = network.sizes.side_multiple
    smallest = (side, side, side)
    small = exported_form(cut_positions(network, window, smallest))
    module = DecoderGraph(small).eval()
    shapes = shapes_of(small, smallest)
    shapes |= {
        name: (1, channels, *(side // 2**n,) * 3)
        for n, (name, channels) in enumerate(zip(module.levels, network.sizes.features, strict=True))
    }
    free = {name: AXES if name in module.levels else {1: "tokens"} for name in module.inputs[:-1]}
    examples = [torch.randn(shapes[name]) for name in module.inputs]
    return trace(module, examples, module.inputs, module.outputs, free, path)
