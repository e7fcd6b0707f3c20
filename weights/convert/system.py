"""What is known of a published system: its files, how they become graphs, and where it comes from.

A system is one file in ``systems`` and one line in their registry; nothing else here knows one by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
import torch
from torch import Tensor

from vesal.inference.planning.manifest import Provenance
from vesal.networks.mpnet_text import MPNetText
from vesal.weights.convert.keymap import Part

PROMPTED = "prompted"
"""Role of the graph that takes spatial prompts."""
PROFILES = Path(__file__).resolve().parent.parent
"""Where systems keep their published rules: ``<name>/profile``."""
FILE_NAME = re.compile(r"crop_size_(\d+)_(\d+)_(\d+)_spacing_([\d.]+)_([\d.]+)_([\d.]+?)(?:_step|\.pth|$)")
"""Window and spacing in (h, w, d), as the names of Medal S's files tell them (``docs/checkpoints.md`` 8); any
system's file may be named like that.
"""


@dataclass(frozen=True)
class Geometry:
    """Window and spacing that one network was trained at."""

    window_dhw: tuple[int, int, int]
    spacing_dhw_mm: tuple[float, float, float]


@dataclass(frozen=True)
class PublishedFile:
    """A published file."""

    argument: str
    """The command's option, without its dashes."""
    stage: str
    """``coarse`` or ``fine``; of a file that serves all stages, another word."""
    help: str
    published_as: str
    """Names of the files that there are, for people."""


@dataclass(frozen=True)
class StageFile(PublishedFile):
    """A published file that holds the network of one stage."""

    geometry: Geometry
    """Of published files whose name does not tell."""


class StageSizes(Protocol):
    """Sizes of a network that the conversion needs."""

    @property
    def query(self) -> int:
        """Numbers that a query has."""

    @property
    def side_multiple(self) -> int:
        """Voxels that every side of a window must be a multiple of."""


class StageNetwork(Protocol):
    """The network of one stage, in torch; its forward pass is the system's own."""

    @property
    def sizes(self) -> StageSizes:
        """Its sizes."""

    def parameters(self) -> Iterator[Any]:
        """Its tensors."""


RunNetwork = Callable[[np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]
"""A network in torch: image (1, 1, d, h, w) float32 0..255, queries (N, E) float32, spatial prompts
(1, N, d, h, w) float32 0 or 1, or None -> logits (N, d, h, w) float32."""


@dataclass(frozen=True)
class System:
    """One published system."""

    name: str
    """As the command and the folder in ``weights/`` call it."""
    title: str
    files: tuple[StageFile, ...]
    """One for each stage, in the order in which they run."""
    network: Part[Any]
    """How the file of a stage becomes a ``StageNetwork``."""
    text: Part[MPNetText]
    """How the file of the text encoder becomes one."""
    graphs: Callable[[Any, Path], dict[str, onnx.ModelProto]]
    """(network, file for the exporter) -> the graphs of a stage by role."""
    logits: Callable[[Any, np.ndarray, np.ndarray, np.ndarray | None], np.ndarray]
    """(network, image, queries, spatial prompts) -> logits that its graphs should give, as ``RunNetwork``."""
    provenance: Provenance
    """Paper, repository and licences; files and modalities are those of the conversion."""
    profile: Path | None = None
    """Folder with ``profile.json``, the published rules as data; None: one window a stage, all targets."""

    @property
    def given(self) -> tuple[PublishedFile, ...]:
        """All that the command is given."""
        return (
            *self.files,
            PublishedFile("text", "text", "its text encoder, .pth", "its text encoder, .pth"),
            PublishedFile("tokenizer", "text", "the folder BioLORD-2023-C", "the folder BioLORD-2023-C"),
        )

    def run_of(self, network: StageNetwork) -> RunNetwork:
        """A network of this system as a function of arrays."""
        return lambda image, queries, boxes: self.logits(network, image, queries, boxes)

    def geometry_of(self, stage: str, path: Path) -> Geometry:
        """Window and spacing of a stage, from the file's name where it tells them."""
        match = FILE_NAME.search(path.name)
        if match is None:
            return next(file.geometry for file in self.files if file.stage == stage)
        h, w, d = (int(n) for n in match.groups()[:3])
        sh, sw, sd = (float(n) for n in match.groups()[3:])
        return Geometry((d, h, w), (sd, sh, sw))


def to_hwd(values: np.ndarray) -> Tensor:
    """(1, C, d, h, w) -> (1, C, h, w, d), the published axes of Medal S and SAT."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(values, -3, -1)))


def to_dhw(logits: Tensor) -> np.ndarray:
    """(1, N, h, w, d) -> (N, d, h, w) float32."""
    return np.moveaxis(logits[0].float().numpy(), -1, -3)
