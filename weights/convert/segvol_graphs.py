"""SegVol as ONNX graphs: the window once for all prompts, sentences once a case, the decoder for any prompts.

``image``: windows to embeddings. ``text``: token ids to one vector a sentence. ``decoder``: N prompts with
equal numbers of tokens, in one embedded window, to mask logits at a quarter of the height and width. The
window's size is fixed by the weights; numbers of windows, sentences, prompts and tokens are free.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import onnx
import torch
from torch import Tensor, nn

from vesal.networks.point_prompts import FIRST_CORNER, SECOND_CORNER
from vesal.networks.segvol import SegVol
from vesal.weights.convert.graphs import trace

PROMPTS_AT_ONCE = 1
"""Prompts that the decoder is best given in one call."""
FREE_AXES: dict[str, dict[int, str]] = {
    "image": {0: "windows"},
    "embedding": {0: "windows"},
    "input_ids": {0: "prompts", 1: "words"},
    "coordinates": {0: "prompts", 1: "tokens"},
    "kinds": {0: "prompts", 1: "tokens"},
    "text": {0: "prompts"},
    "with_text": {0: "prompts"},
    "logits": {0: "prompts"},
}


class ImageGraph(nn.Module):
    """Windows to embeddings."""

    inputs, outputs = ("image",), ("embedding",)

    def __init__(self, network: SegVol) -> None:
        super().__init__()
        # Alone, so that the graph holds no weights of the other parts.
        self.encoder = network.image_encoder
        self.grid_dhw = network.sizes.image.grid_dhw

    def forward(self, image: Tensor) -> Tensor:
        """image (B, 1, d, h, w) float32, grey levels 0..1 -> (B, C, d, h, w) of the grid."""
        embedding: Tensor = self.encoder(image).transpose(1, 2).unflatten(2, self.grid_dhw)
        return embedding


class TextGraph(nn.Module):
    """Token ids to vectors."""

    inputs, outputs = ("input_ids",), ("text",)

    def __init__(self, network: SegVol) -> None:
        super().__init__()
        self.encoder = network.text_encoder

    def forward(self, input_ids: Tensor) -> Tensor:
        """input_ids (P, L) int64, padded with end marks -> (P, C)."""
        text: Tensor = self.encoder(input_ids)
        return text


class DecoderGraph(nn.Module):
    """An embedded window and prompts to masks."""

    inputs = ("embedding", "coordinates", "kinds", "text", "with_text")
    outputs = ("logits",)

    def __init__(self, network: SegVol) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, embedding: Tensor, coordinates: Tensor, kinds: Tensor, text: Tensor, with_text: Tensor
    ) -> Tensor:
        """Logits (N, d, h, w), see ``SegVol.decode``."""
        return self.network.decode(embedding, coordinates, kinds, text, with_text)


def segvol_graphs(network: SegVol, path: Path) -> dict[str, onnx.ModelProto]:
    """Export a network.

    Args:
        network: with its weights.
        path: a file for the exporter, overwritten.

    Returns:
        the graphs by role: ``image``, ``text`` and ``decoder``; all float32.
    """
    network = network.eval()
    sizes = network.sizes
    corners = torch.rand(2, 2, 3) * torch.tensor(sizes.image.window_dhw)
    examples = {
        "image": torch.rand(2, 1, *sizes.image.window_dhw),
        "embedding": torch.randn(1, sizes.image.width, *sizes.image.grid_dhw),
        "input_ids": torch.full((2, 5), sizes.text.vocabulary - 1),
        "coordinates": corners,
        "kinds": torch.tensor([[FIRST_CORNER, SECOND_CORNER]] * 2),
        "text": torch.randn(2, sizes.image.width),
        "with_text": torch.ones(2),
    }

    def export(module: nn.Module) -> onnx.ModelProto:
        inputs, outputs = (cast(Sequence[str], names) for names in (module.inputs, module.outputs))
        free = {name: FREE_AXES[name] for name in (*inputs, *outputs)}
        if "embedding" in inputs:
            del free["embedding"]  # of one window
        return trace(module.eval(), [examples[name] for name in inputs], inputs, outputs, free, path)

    return {
        "image": export(ImageGraph(network)),
        "text": export(TextGraph(network)),
        "decoder": export(DecoderGraph(network)),
    }
