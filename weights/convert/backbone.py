"""Published backbones: a folder to fine-tune from, with weights, sizes and provenance.

``backbone.safetensors`` holds the weights under their published names, ``backbone.json`` what they are.
Graphs are written where they are asked for: a backbone alone segments nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from torch import nn

from vesal.inference.planning.manifest import Provenance
from vesal.weights.convert.errors import CheckpointError, ConversionError
from vesal.weights.convert.folder import source, write_folder
from vesal.weights.convert.formats import open_weights
from vesal.weights.convert.graphs import save_graphs
from vesal.weights.convert.keymap import Part, Shapes, load
from vesal.weights.convert.safetensors import write_safetensors
from vesal.weights.convert.system import PublishedFile

log = logging.getLogger("vesal")

WEIGHTS, ABOUT = "backbone.safetensors", "backbone.json"
GRAPH_WEIGHTS = "weights.bin"
MOST_CHANGED = 0.01
"""Of features, as a share of their length, above which ``auto`` stores fp32."""
MOST_DIFFERENT = {"fp16": MOST_CHANGED, "fp32": 1e-4}
"""Largest difference of a graph's features from those of its network, as a share of their length."""


@dataclass(frozen=True)
class BackboneSystem:
    """One published backbone."""

    name: str
    """As the command calls it."""
    title: str
    files: tuple[PublishedFile]
    network: Part[Any]
    other_file: Callable[[Shapes], str | None]
    """Names and shapes as they are in a file -> what it is, where it is a known one of another kind."""
    features: Callable[[Any], list[np.ndarray]]
    """Of a network: its features of a synthetic volume, by degree of anisotropy."""
    graphs: Callable[[Any, Path], dict[str, onnx.ModelProto]]
    """(network, file for the exporter) -> its graphs by file name."""
    graph_features: Callable[[Any, Path], list[np.ndarray]]
    """(network, folder with its graphs) -> what these give for the same volume."""
    facts: Callable[[Any], dict[str, Any]]
    """What there is to tell of a network besides its sizes."""
    provenance: Provenance

    @property
    def given(self) -> tuple[PublishedFile, ...]:
        """All that the command is given."""
        return self.files


def read_backbone(system: BackboneSystem, path: Path) -> Any:
    """The network of a file, see ``keymap.load``; other files of the same system are refused by name."""
    file = open_weights(path)
    other = system.other_file(file.shapes)
    if other is not None:
        raise CheckpointError(f"{path} {other}")
    return load(file, system.network)


def convert_backbone(
    system: BackboneSystem, checkpoint: Path, out: Path, store: str = "auto", with_graphs: bool = False
) -> dict[str, Any]:
    """Write a folder to fine-tune from.

    Args:
        system: which the file is of.
        checkpoint: the published file.
        out: where to write; files of an earlier conversion are replaced when everything is done.
        store: ``fp16``, ``fp32``, or ``auto``: fp16 where it changes features by less than ``MOST_CHANGED``.
        with_graphs: whether to write a graph for each degree of anisotropy as well.

    Returns:
        what ``backbone.json`` holds.

    Raises:
        CheckpointError: see ``read_backbone``.
        ConversionError: a graph does not give what the network gives.
    """

    def make(work: Path) -> dict[str, Any]:
        network = read_backbone(system, checkpoint)
        wanted = system.features(network)
        _require_finite(wanted, checkpoint)
        stored, changed = _store(system, network, wanted, store)
        state = {name: value.numpy() for name, value in network.state_dict().items()}
        write_safetensors(work / WEIGHTS, state, stored == "fp16")
        different = _write_graphs(system, network, work, stored) if with_graphs else {}
        told = msgspec.structs.replace(
            system.provenance, files={"backbone": source(open_weights(checkpoint))}
        )
        return {
            "name": system.name,
            "version": 1,
            "licence": "that of the published weights",
            "about": f"Converted from the published weights of {system.title}; their digests stand below.",
            "sizes": asdict(network.sizes),
            **system.facts(network),
            "parameters": sum(p.numel() for p in network.parameters()),
            "stored": stored,
            "changed": changed,
            **different,
            "provenance": msgspec.to_builtins(told),
        }

    return write_folder(out, None, make, ABOUT)


def distance(features: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    """The largest difference of features (any shape) from wanted ones, as a share of the length of these."""
    return max(
        float(np.linalg.norm(a - b)) / max(float(np.linalg.norm(b)), 1e-9)
        for a, b in zip(features, wanted, strict=True)
    )


def _require_finite(features: list[np.ndarray], checkpoint: Path) -> None:
    if not all(np.isfinite(each).all() for each in features):
        raise ConversionError(
            f"{checkpoint}: the network itself gives NaN or infinite features for a synthetic volume. Its "
            "weights are damaged, or not those that were published; fetch the file again."
        )


def _store(
    system: BackboneSystem, network: nn.Module, wanted: list[np.ndarray], store: str
) -> tuple[str, float]:
    """Precision to store weights in, to which those of ``network`` are rounded, and what that changes."""
    if store == "fp32":
        return "fp32", 0.0
    exact = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict({name: value.half().float() for name, value in exact.items()})
    rounded = system.features(network)
    # Beyond what fp16 can hold nothing is left.
    is_finite = all(np.isfinite(each).all() for each in rounded)
    changed = distance(rounded, wanted) if is_finite else float("inf")
    if store == "auto" and not changed <= MOST_CHANGED:
        log.warning("weights in fp16 change features by %.2g of their length; fp32 is stored", changed)
        network.load_state_dict(exact)
        return "fp32", 0.0
    if not is_finite:
        raise ConversionError("fp16 cannot hold these weights: some are beyond 65504. Store them as fp32.")
    return "fp16", changed


def _write_graphs(system: BackboneSystem, network: Any, work: Path, stored: str) -> Mapping[str, Any]:
    """Write the graphs and check them; returns what to tell of it. Raises ConversionError."""
    graphs = system.graphs(network, work / "traced")
    (work / "traced").unlink(missing_ok=True)
    names = sorted(graphs)
    save_graphs(graphs, work, GRAPH_WEIGHTS, stored == "fp16")
    del graphs
    different = distance(system.graph_features(network, work), system.features(network))
    if not different <= MOST_DIFFERENT[stored]:
        raise ConversionError(
            f"The graphs of {system.title} differ from their network by {different:.1e} of the features' "
            f"length; wanted is at most {MOST_DIFFERENT[stored]:.0e}. The conversion or ONNX Runtime is at "
            "fault: please report it."
        )
    return {"graphs": names, "graphs_differ": different}
