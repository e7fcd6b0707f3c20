"""Published segmenters of a closed list of classes: one file, one graph, for the family ``closed``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import torch
from torch import Tensor, nn

from vesal.inference.families.registry import CLOSED
from vesal.inference.planning.manifest import Provenance
from vesal.inference.runtime.choice import choose_runtime
from vesal.weights.convert.errors import CheckpointError
from vesal.weights.convert.folder import Options, source, write_folder
from vesal.weights.convert.formats import open_weights
from vesal.weights.convert.graphs import trace
from vesal.weights.convert.keymap import Part, load
from vesal.weights.convert.one_file import written_graphs
from vesal.weights.convert.system import PublishedFile
from vesal.weights.convert.verify import SEED, Agreement, agreement_of, fast_runtime

NETWORK = "network"
"""Role of the graph."""
AXES = {2: "depth", 3: "height", 4: "width"}
MEASURED = 2
"""Smallest windows along each axis that a graph is measured on, unless the published one is asked for."""


@dataclass(frozen=True)
class ClosedListSystem:
    """One published segmenter."""

    name: str
    """As the command and the folder in ``weights/`` call it."""
    title: str
    files: tuple[PublishedFile]
    network: Part[Any]
    """image (B, C, d, h, w) -> logits (B, classes, d, h, w), the background first."""
    channels: Callable[[Any], int]
    """Of the image that a network sees."""
    multiple_dhw: Callable[[Any], tuple[int, int, int]]
    """What sides of a window are multiples of."""
    provenance: Provenance
    profile: Path
    """Folder with ``profile.json``: classes, intensity, stages and targets."""

    @property
    def given(self) -> tuple[PublishedFile, ...]:
        """All that the command is given."""
        return self.files

    @property
    def own(self) -> dict[str, Any]:
        """What ``profile.json`` holds."""
        content: dict[str, Any] = json.loads((self.profile / "profile.json").read_text(encoding="utf-8"))
        return content

    def graphs(self, network: Any, path: Path) -> dict[str, onnx.ModelProto]:
        """The one graph, by its role."""
        sides = [MEASURED * side for side in self.multiple_dhw(network)]
        example = torch.randn(1, self.channels(network), *sides)
        free = {"image": AXES, "probability": AXES}
        graph = trace(Probabilities(network).eval(), [example], ["image"], ["probability"], free, path)
        return {NETWORK: graph}

    def measure(self, network: Any, paths: Mapping[str, Path], published: bool) -> dict[str, Agreement]:
        """Agreement of the graph with its network on a synthetic window, by precision."""
        window = self.own["stages"][0]["layout"]["window_dhw"]
        small = [MEASURED * side for side in self.multiple_dhw(network)]
        rng = np.random.default_rng(SEED)
        image = rng.normal(size=(1, self.channels(network), *(window if published else small)))
        image = image.astype(np.float32)
        with torch.no_grad():
            wanted = _margins(Probabilities(network)(torch.from_numpy(image)).numpy())
        runtimes = {"fp32": choose_runtime("onnxruntime"), "bf16": fast_runtime()}
        return {
            name: agreement_of(
                _margins(runtime.load(paths[NETWORK], name)({"image": image})["probability"]), wanted
            )
            for name, runtime in runtimes.items()
            if runtime is not None
        }


class Probabilities(nn.Module):
    """A network with probabilities as its output, which is what windows are blended of."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """image (B, C, d, h, w) -> (B, classes, d, h, w), 0..1, of sum 1."""
        logits: Tensor = self.network(image)
        return logits.softmax(1)


def _margins(probability: np.ndarray) -> np.ndarray:
    """(1, K, d, h, w) -> (K - 1, d, h, w): how far each class is ahead of the background."""
    margins: np.ndarray = probability[0, 1:] - probability[0, :1]
    return margins


def convert_closed_list(
    system: ClosedListSystem, checkpoint: Path, out: Path, options: Options
) -> dict[str, Any]:
    """Write a folder that the engine opens.

    Args:
        system: which the file is of.
        checkpoint: the published file.
        out: where to write; files of an earlier conversion are replaced when everything is done.
        options: see ``folder.Options``; sentences are not asked for.

    Returns:
        the manifest.

    Raises:
        CheckpointError: see ``formats.open_weights`` and ``keymap.load``; or the network has another number
            of classes than the list.
        ConversionError: the graph does not give what the network gives.
    """

    def make(work: Path) -> dict[str, Any]:
        file, own = open_weights(checkpoint), system.own
        network = load(file, system.network)
        sources = {"network": source(file)}
        del file  # what is mapped of it counts as memory
        listed, outputs = len(own["classes"]), network.sizes.classes - 1
        if listed != outputs:
            raise CheckpointError(
                f"{checkpoint} is a segmenter of {outputs} classes; those of {system.title} have {listed}. "
                "Give its file."
            )
        roles, measured = written_graphs(system, network, work, options)
        return {
            "name": system.name,
            "version": 1,
            "family": CLOSED,
            "licence": "that of the published weights",
            "about": f"Converted from the published weights of {system.title}; their digests stand below.",
            "graphs": roles,
            "network": {
                "channels": system.channels(network),
                "multiple_dhw": list(system.multiple_dhw(network)),
                "parameters": sum(p.numel() for p in network.parameters()),
                **measured,
            },
            "provenance": msgspec.to_builtins(msgspec.structs.replace(system.provenance, files=sources)),
            **own,
        }

    return write_folder(out, system.profile, make)
