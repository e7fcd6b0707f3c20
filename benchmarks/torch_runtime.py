"""Graphs of a converted query network (Medal S, SAT) run by torch, in float64 or float32.

It stands in a runtime's place, so that a whole run shows what the rounding of a runtime changes in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vesal.networks.sat import Sat
from vesal.weights.convert.graphs import EmbedGraph, EncoderGraph, PromptedGraph, fusion_of

INPUTS = {
    "encoder": ("image",),
    "embed": ("tokens", "positions", "text"),
    "prompted": ("image", "text", "prompt"),
}
"""Of the graphs by role."""


class TorchRuntime:
    """A runtime whose graphs of one network are its modules; what else there is, is run by another one."""

    def __init__(self, network: Sat, dtype: torch.dtype, other: Any) -> None:
        """Take the exported form of ``network``, which serves all stages, in ``dtype``."""
        modules: dict[str, nn.Module] = {"encoder": EncoderGraph(network), "embed": EmbedGraph(network)}
        if fusion_of(network) is not None:
            modules["prompted"] = PromptedGraph(network)  # type: ignore[arg-type]
        self._graphs = {
            role: TorchGraph(m.to(dtype).eval(), INPUTS[role], dtype) for role, m in modules.items()
        }
        self._other = other

    def __getattr__(self, name: str) -> Any:
        """What a runtime has beside its graphs."""
        return getattr(self._other, name)

    def load(self, path: Path, precision: str | None = None, one_shape: bool | str = False) -> Any:
        """See ``families.contract.Loader``; files of graphs are named STAGE-ROLE.onnx."""
        role = path.stem.rpartition("-")[2]
        return self._graphs.get(role) or self._other.load(path, precision, one_shape)


@dataclass(frozen=True, eq=False)
class TorchGraph:
    """One module with named inputs and outputs."""

    module: nn.Module
    inputs: tuple[str, ...]
    dtype: torch.dtype

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of its outputs."""
        names: tuple[str, ...] = self.module.outputs  # type: ignore[assignment]
        return names

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays by name in, float32 by name out."""
        tensors = [
            torch.from_numpy(np.ascontiguousarray(arrays[name])).to(self.dtype) for name in self.inputs
        ]
        with torch.no_grad():
            results = self.module(*tensors)
        results = results if isinstance(results, tuple) else (results,)
        return {n: r.float().numpy().copy() for n, r in zip(self.outputs, results, strict=True)}
