"""Networks of Medal S and SAT as ONNX graphs for the engine: other axes, the same logits.

What changes against the published form, all of it exact but for rounding:

- Axes are (d, h, w) instead of (h, w, d): kernels and positions are turned, so that no array has to be.
- Intensities are raw, 0..255, so the first convolution gives channels whose mean is several times their
  standard deviation, and the instance norm after it loses digits by it. A norm removes a constant, so the
  mean of the window is subtracted from the image, and put back at the border only, where kernels see the
  zero padding, by an input channel of its own. It brings bf16 more than twice nearer to fp32
  (`tests/weights/test_convert_graphs.py`).
- Biases in front of a norm are left out: it removes them.
- Norms take their statistics axis by axis, which keeps their digits in large windows (`norms.py`).
- Without spatial prompts, the foreground channel and the fusion's half that would see zeros are left out.
- SAT's three equal channels become one.

A network is three graphs that share one file of weights. ``encoder``: what does not depend on the prompts,
image -> features, tokens, positions. ``embed``: tokens, positions, text -> masks, the mask embeddings of any
prompts. ``prompted``: with spatial prompts the features depend on all prompts of the window, through their
union and the fusion, so it gives features and masks. Logits are masks times features, which needs no graph:
so any group of prompts is decoded without running a network again.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from vesal.networks.medal_s import MedalS, prompt_union
from vesal.networks.query_decoder import GridPositions
from vesal.networks.sat import Sat
from vesal.networks.unet import ConvBlock, Stack
from vesal.weights.convert.norms import AxisNorm
from vesal.weights.shared_file import OPSET, save_shared

MIN_FP16_ELEMENTS = 1024
"""Tensors of fewer elements stay in fp32, as do vectors: norms and biases gain nothing from less."""
MIN_INT8_ELEMENTS = 2**20
"""Matrices of fewer elements stay in more bits: they would save less than a megabyte."""
FP32_TENSORS = (
    "positions",
    "pos_embed",
    "encoder.stages.0.0.convs.0.conv",
    "positional_encoding_gaussian_matrix",
)
"""Tensors that stay in fp32: sine positions, of which nobody trained the rounding; the first convolution,
whose kernel for the border must go with the one for the image; and frequencies, which angles multiply."""
AXES = {2: "depth", 3: "height", 4: "width"}
FREE_AXES = {
    "image": AXES,
    "text": {1: "prompts"},
    "prompt": {1: "prompts", **AXES},
    "features": AXES,
    "tokens": {1: "tokens"},
    "positions": {0: "tokens"},
    "masks": {1: "prompts"},
}
TO_DHW = (0, 1, 4, 2, 3)
"""Order of a kernel's axes (out, in, h, w, d) that gives (out, in, d, h, w)."""


class EncoderGraph(nn.Module):
    """A network from one window, without spatial prompts, to what its prompts are decoded from."""

    outputs = ("features", "tokens", "positions")

    def __init__(self, network: Sat) -> None:
        """Take over the weights of ``network``."""
        super().__init__()
        self.network = exported_form(network, False)
        self.fusion = fusion_of(self.network)
        if self.fusion is not None:
            # Its other half would see zeros.
            block = cast(ConvBlock, self.fusion.convs[0])
            _replace_kernel(block, block.conv.weight[:, : block.conv.out_channels])

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """image (1, 1, d, h, w) raw -> features (1, C, d, h, w), tokens (1, T, E), positions (T, E)."""
        pixel, tokens, positions = self.network.encode(_channels(image, None))
        return (pixel if self.fusion is None else self.fusion(pixel)), tokens, positions


class EmbedGraph(nn.Module):
    """The query decoder of a network: prompts of one encoded window to mask embeddings."""

    outputs = ("masks",)

    def __init__(self, network: Sat) -> None:
        """Take over the weights of ``network``."""
        super().__init__()
        self.network = exported_form(network, False)

    def forward(self, tokens: Tensor, positions: Tensor, text: Tensor) -> Tensor:
        """tokens (1, T, E), positions (T, E), text (1, N, E) -> masks (1, N, C)."""
        return self.network.embed_masks(tokens, positions, text)


class PromptedGraph(nn.Module):
    """A network from one window and its spatial prompts to features and mask embeddings."""

    outputs = ("features", "masks", "tokens", "positions")

    def __init__(self, network: MedalS) -> None:
        """Take over the weights of ``network``."""
        super().__init__()
        self.network = cast(MedalS, exported_form(network, True))

    def forward(self, image: Tensor, text: Tensor, prompt: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """image (1, 1, d, h, w) raw, text (1, N, E), prompt (1, N, d, h, w) -> features (1, C, d, h, w),
        masks (1, N, C), tokens (1, T, E), positions (T, E).
        """
        pixel, tokens, positions = self.network.encode(_channels(image, prompt_union(prompt)))
        masks = self.network.embed_masks(tokens, positions, text)
        return self.network.fuse(pixel, masks, prompt), masks, tokens, positions


def fusion_of(network: Sat) -> Stack | None:
    """What joins features with spatial prompts; None where the network takes none."""
    return getattr(network, "fusion_conv", None)


def _channels(image: Tensor, foreground: Tensor | None) -> Tensor:
    """Input of the exported form: image less its mean, the foreground if any, the mean."""
    # A whole number: what is left of whole intensities stays exact in bf16.
    mean = image.mean((2, 3, 4), keepdim=True).round()
    channels = [image - mean, *([] if foreground is None else [foreground]), mean.expand_as(image)]
    return torch.cat(channels, 1)


@torch.no_grad()
def exported_form(network: Sat, prompts: bool) -> Sat:
    """A copy of ``network`` as it is exported; its first convolution sees a foreground with ``prompts``."""
    network = copy.deepcopy(network)
    _to_dhw(network)
    first = cast(Stack, cast(nn.Sequential, network.backbone.encoder.stages[0])[0])
    _subtract_mean(cast(ConvBlock, first.convs[0]), fusion_of(network) is not None, prompts)
    return network


def _to_dhw(network: Sat) -> None:
    """Kernels and positions for axes (d, h, w), in place; norms are exact ones, and biases before them go."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
            module.weight = nn.Parameter(module.weight.permute(TO_DHW).contiguous())
        if isinstance(module, ConvBlock):
            module.conv.bias = None
            module.norm = AxisNorm(module.norm)  # type: ignore[assignment]
    # Channels count along h, w and d in this order; these are the axes 1, 2 and 0 now.
    network.positions = GridPositions(network.sizes.query, (1, 2, 0))


def _subtract_mean(block: ConvBlock, foreground: bool, prompts: bool) -> None:
    """Kernels of the first convolution for (image - mean, foreground with ``prompts``, mean), in place."""
    weight = block.conv.weight
    # SAT sees the image three times; Medal S sees the foreground beside it.
    parts = [weight[:, :1], weight[:, 1:]] if foreground else [weight.sum(1, keepdim=True)]
    # The mean comes back at the border, where the kernel reaches beyond the window, and nowhere else.
    border = parts[0].clone()
    border[:, :, 1, 1, 1] -= parts[0].sum((2, 3, 4))
    _replace_kernel(block, torch.cat([parts[0], *(parts[1:] if prompts else []), border], 1))


def _replace_kernel(block: ConvBlock, weight: Tensor) -> None:
    """Give the block's convolution the kernel ``weight`` (O, I, d, h, w)."""
    block.conv.weight = nn.Parameter(weight.contiguous())
    block.conv.in_channels = weight.shape[1]


def graphs_of(network: Sat, path: Path) -> dict[str, onnx.ModelProto]:
    """Export a network with free numbers of prompts and voxels.

    Args:
        network: with its weights.
        path: a file for the exporter, overwritten.

    Returns:
        the graphs by role, with inputs and outputs as ``EncoderGraph``, ``EmbedGraph`` and, where the network
        takes spatial prompts, ``PromptedGraph`` name them; all float32. Sides are multiples of
        ``side_multiple``, and not all equal to it.
    """
    step, width = network.sizes.side_multiple, network.sizes.query
    shape = (2 * step, step, step)
    examples = {
        "image": torch.rand(1, 1, *shape) * 255,
        "text": torch.randn(1, 2, width),
        "prompt": (torch.rand(1, 2, *shape) > 0.5).float(),
        "tokens": torch.randn(1, 2, width),
        "positions": torch.randn(2, width),
    }

    def export(module: nn.Module, *inputs: str) -> onnx.ModelProto:
        outputs = cast(Sequence[str], module.outputs)
        free = {name: FREE_AXES[name] for name in (*inputs, *outputs)}
        return trace(module.eval(), [examples[name] for name in inputs], inputs, outputs, free, path)

    graphs = {
        "encoder": export(EncoderGraph(network), "image"),
        "embed": export(EmbedGraph(network), "tokens", "positions", "text"),
    }
    if fusion_of(network) is not None:
        graphs["prompted"] = export(PromptedGraph(cast(MedalS, network)), "image", "text", "prompt")
    return graphs


def trace(
    module: nn.Module,
    inputs: Sequence[Tensor],
    names: Sequence[str],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, str]],
    path: Path,
) -> onnx.ModelProto:
    """Export a module by tracing.

    Args:
        module: in evaluation mode.
        inputs: example tensors, of any shape that the module takes.
        names: of the inputs.
        outputs: names of the outputs.
        dynamic: free axes and their names, by input or output.
        path: a file for the exporter, overwritten.
    """
    with torch.no_grad(), warnings.catch_warnings():
        # The exporter through torch.export is said to follow, but names outputs twice (torch 2.13); and that
        # instance norms take their statistics from the input is what they are for.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", "ONNX export mode", UserWarning)
        # The norm asks whether it has more than one voxel, which no traced shape changes.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        torch.onnx.export(
            module,
            tuple(inputs),
            str(path),
            input_names=list(names),
            output_names=list(outputs),
            dynamic_axes={name: dict(axes) for name, axes in dynamic.items()},
            opset_version=OPSET,
            dynamo=False,
            do_constant_folding=False,
        )
    return onnx.load(str(path))


def save_graphs(
    graphs: Mapping[str, onnx.ModelProto] | Iterable[tuple[str, onnx.ModelProto]],
    folder: Path,
    weights: str,
    as_fp16: bool,
    in_int8: Sequence[str] = (),
) -> None:
    """Write graphs that share one file of weights.

    Args:
        graphs: by file name, or with file names one after the other; their large tensors are moved out of
            them.
        folder: where to write.
        weights: name of the file for the weights; a tensor that several graphs hold is stored once.
        as_fp16: whether to store fp16, which the graphs cast back, or fp32.
        in_int8: parts of the names of linear layers that are stored in 8 bits instead, if they are large.
    """

    def is_moved(name: str, values: np.ndarray) -> bool:
        return (
            values.ndim >= 2
            and values.size >= MIN_FP16_ELEMENTS
            and not any(part in name for part in FP32_TENSORS)
        )

    def is_int8(name: str, values: np.ndarray) -> bool:
        large = values.ndim == 2 and values.size >= MIN_INT8_ELEMENTS
        return large and any(part in name for part in in_int8)

    named = graphs.items() if isinstance(graphs, Mapping) else graphs
    save_shared(named, folder, weights, as_fp16, is_moved, is_int8)
