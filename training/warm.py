"""Begin from shipped weights: the graph of degree 0 names its tensors as the network does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from vesal.training.widen import differ_in_widths, widen

PREFIX, HALF = "model.", ".fp16"
"""What the export puts before and behind the network's own names (``export.py``)."""


def read_weights(folder: Path, file: str = "degree0.onnx") -> dict[str, torch.Tensor]:
    """Tensor name -> fp32 values of a graph and the weights file beside it."""
    graph = onnx.load(str(folder / file)).graph
    return {
        tensor.name.removeprefix(PREFIX).removesuffix(HALF): torch.from_numpy(
            onnx.numpy_helper.to_array(tensor).astype(np.float32)
        )
        for tensor in graph.initializer
    }


def warm_start(model: nn.Module, folder: Path) -> list[str]:
    """Load the shipped weights of ``folder`` into ``model``; returns the names that begin anew.

    A tensor that the folder lacks, or has in another shape (a vocabulary that grew), keeps its random start;
    a narrower network is widened. Raises ValueError where nothing fits.
    """
    found, state = read_weights(folder), model.state_dict()
    if differ_in_widths(found, state):
        found = widen({name: found[name] for name in state if name in found}, state)
    fits = {name: found[name] for name, t in state.items() if name in found and found[name].shape == t.shape}
    if not fits:
        raise ValueError(f"{folder} has no tensor of this network; give a folder that training.export wrote")
    model.load_state_dict(state | fits)
    return sorted(set(state) - set(fits))
