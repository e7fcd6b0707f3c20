"""SPAD-ViT as ONNX graphs: one for each degree of anisotropy, from a grey volume to features of its patches.

The graphs share all weights; from the degree on at which a patch is one slice thick there is nothing new.
The published backbone sees a grey image three times, each time normalised otherwise: as its patches do not
overlap and see no padding, kernel and bias take that over, and the graph sees the image once.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import cast

import onnx
import torch
from torch import Tensor, nn

from vesal.networks.rotary import halves_first, turned_halves
from vesal.networks.spad import Anisotropy
from vesal.networks.spad_vit import SpadVit, SpadVitBlock, on_grid
from vesal.weights.convert.graphs import trace

COLOURS = 3
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet, by channel of an image 0..1, as the pre-training normalises."""
AXES = {2: "depth", 3: "height", 4: "width"}
GRID = {2: "patches_d", 3: "patches_h", 4: "patches_w"}


class BackboneGraph(nn.Module):
    """The backbone at one degree of anisotropy."""

    inputs, outputs = ("image",), ("features", "volume")

    def __init__(self, network: SpadVit, degree: int) -> None:
        super().__init__()
        self.network, self.degree = network, degree

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """image (1, C, D, H, W) -> features (1, width, d, h, w) and volume (1, width), the class; normed."""
        patches, _ = self.network.embed(image, Anisotropy(self.degree))
        tokens = self.network.norm(self.network.hidden(patches)[1])
        return on_grid(tokens, patches), tokens[:, 0]


@torch.no_grad()
def exported_form(network: SpadVit) -> SpadVit:
    """``grey_form`` whose heads have the first channels of all pairs before the second ones."""
    network = copy.deepcopy(grey_form(network))
    order = halves_first(network.sizes.width // network.sizes.heads)
    for block in cast(Iterable[SpadVitBlock], network.blocks):
        attention = block.attn
        for values in (attention.q_proj.weight, attention.k_proj.weight, attention.q_bias):
            values.copy_(values.unflatten(0, (-1, len(order)))[:, order].flatten(0, 1))
        attention.turn = turned_halves
    return network


@torch.no_grad()
def grey_form(network: SpadVit) -> SpadVit:
    """The network for a grey image (B, 1, D, H, W), 0..1; the same one where it has no three channels."""
    if network.sizes.channels != COLOURS:
        return network
    grey = copy.deepcopy(network)
    proj = grey.patch_embed.proj
    assert proj.bias is not None
    weight = proj.weight / torch.tensor(STD).reshape(1, -1, 1, 1, 1)
    shift = (weight.sum((2, 3, 4)) * torch.tensor(MEAN)).sum(1)
    proj.weight, proj.bias = nn.Parameter(weight.sum(1, keepdim=True)), nn.Parameter(proj.bias - shift)
    grey.sizes = replace(grey.sizes, channels=1)
    return grey


def normalised(grey: Tensor, channels: int) -> Tensor:
    """A grey image (B, 1, D, H, W), 0..1, as the pre-training shows it: (B, channels, D, H, W)."""
    if channels != COLOURS:
        return grey.expand(-1, channels, -1, -1, -1)
    mean, std = (torch.tensor(values).reshape(1, -1, 1, 1, 1) for values in (MEAN, STD))
    return (grey - mean) / std


def degrees_of(network: SpadVit) -> range:
    """Degrees of anisotropy that have a graph of their own; a larger one has that of the last."""
    return range(network.sizes.times + 1)


def file_of(degree: int) -> str:
    """Name of a degree's graph."""
    return f"degree{degree}.onnx"


def backbone_graphs(network: SpadVit, path: Path) -> dict[str, onnx.ModelProto]:
    """Export a network with free sides of the volume.

    Args:
        network: with its weights.
        path: a file for the exporter, overwritten.

    Returns:
        the graphs by file name, as ``BackboneGraph`` with the input of ``grey_form``; all float32.
    """
    network = exported_form(network).eval()
    free = {"image": AXES, "features": GRID}

    def export(degree: int) -> onnx.ModelProto:
        d, h, w = network.sizes.patch_dhw(degree)
        example = torch.rand(1, network.sizes.channels, 2 * d, 3 * h, 4 * w)
        module = BackboneGraph(network, degree).eval()
        return trace(module, [example], module.inputs, module.outputs, free, path)

    return {file_of(degree): export(degree) for degree in degrees_of(network)}
