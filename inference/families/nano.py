"""Family ``nano``: our own network, a graph per degree of anisotropy (docs/design.md, Families).

Beside its weights' files a model knows arrays alone, and of geometry the order of axes.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from msgspec import Struct

from vesal.inference.data.case import Case
from vesal.inference.data.errors import OutOfDeviceMemoryError
from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.data.terms import MODALITIES, SIDES
from vesal.inference.data.user_prompts import BOXES, POINTS
from vesal.inference.families.bank import Vectors, read_bank
from vesal.inference.families.contract import (
    Capabilities,
    Decoded,
    Loader,
    RunGraph,
    UserInput,
    Window,
)
from vesal.inference.families.lazy_graph import LazyGraph
from vesal.inference.families.network_input import image_channels, intensity_statistics
from vesal.inference.geometry.views import SIDE_MULTIPLE, View
from vesal.inference.planning.manifest import FileName, Modality
from vesal.inference.planning.plan import Plan, Understood, listed_target, make_plan
from vesal.inference.planning.profile import Profile

log = logging.getLogger("vesal")


SIDE_CODES = (None, *SIDES)
"""Sides in the order of the codes that the network was trained with."""
CAPABILITIES = Capabilities(
    mask=True,
    boxes=True,
    points=True,
    drawn=(BOXES, POINTS),
    presence=True,
    degrees=True,
    layouts=("fit",),
    side_multiple=SIDE_MULTIPLE,
    mirrors=True,
)


class NanoGraphs(Struct, frozen=True, forbid_unknown_fields=True, rename=lambda name: name[-1]):
    """Graph files by degree of anisotropy: `"0"`, `"1"` and `"2"` in the manifest."""

    degree0: FileName
    degree1: FileName
    degree2: FileName


class ObjectGraphs(Struct, frozen=True, forbid_unknown_fields=True):
    """Graphs with the head that tells objects apart, in the place of the others where all prompts of a window
    are of these modalities.
    """

    modalities: tuple[Modality, ...]
    graphs: NanoGraphs


class NanoFields(Struct, frozen=True, forbid_unknown_fields=True):
    """What a manifest of this family holds besides what all do."""

    graphs: NanoGraphs
    objects: ObjectGraphs | None = None
    """None: the network has no such head."""


def capabilities_of(profile: Profile) -> Capabilities:
    """Edges too, where the weights have the head for them. Raises ProfileError."""
    return replace(CAPABILITIES, edges=profile.read_family(NanoFields).objects is not None)


def graph_paths(profile: Profile) -> dict[int, Path]:
    """Graph files by degree of anisotropy. Raises ProfileError."""
    return _paths(profile, profile.read_family(NanoFields).graphs)


def _paths(profile: Profile, graphs: NanoGraphs) -> dict[int, Path]:
    names = graphs.degree0, graphs.degree1, graphs.degree2
    return {degree: profile.file(name) for degree, name in enumerate(names)}


@dataclass(frozen=True)
class ObjectNetwork:
    """The network with its head for objects."""

    graphs: Mapping[int, RunGraph]
    """by degree; their output ``inner`` (1, N, d, h, w) is the distance to the object's border, as a share of
    the largest one in it"""
    modalities: frozenset[int]
    """codes of those that it is for"""

    @classmethod
    def of(cls, profile: Profile, runtime: Loader) -> ObjectNetwork | None:
        """None where the weights have no such head. Raises ProfileError."""
        fields = profile.read_family(NanoFields).objects
        if fields is None:
            return None
        graphs = {d: LazyGraph(path, runtime) for d, path in _paths(profile, fields.graphs).items()}
        return cls(graphs, frozenset(MODALITIES.index(name) for name in fields.modalities))


@dataclass(frozen=True)
class NanoPrompts:
    """N queries as the network's inputs."""

    text: np.ndarray
    """(N, T) float32"""
    side: np.ndarray
    """(N,) int64"""
    modality: np.ndarray
    """(N,) int64"""

    def part(self, rows: Sequence[int]) -> NanoPrompts:
        """Some of the queries."""
        at = list(rows)
        return NanoPrompts(self.text[at], self.side[at], self.modality[at])


class NanoModel:
    """A graph per degree of anisotropy; 3D views, text queries, spatial prompts. All stages use the same."""

    def __init__(
        self,
        graphs: Mapping[int, RunGraph],
        bank: Vectors,
        profile: Profile,
        objects: ObjectNetwork | None = None,
    ) -> None:
        """``graphs`` by degree 0, 1, 2; ``bank`` gives the text vector (T,) of each concept."""
        self._graphs, self._objects = graphs, objects
        self._bank = bank
        self._profile = profile
        # What fits for one thread does for all.
        self._max_queries: int | None = None

    @classmethod
    def describe(cls, profile: Profile) -> Capabilities:
        """See ``contract.FamilyType``."""
        profile.bank_path()
        return capabilities_of(profile)

    @classmethod
    def open(cls, profile: Profile, runtime: Loader) -> NanoModel:
        """Read the bank; a graph is read when the first view of its degree comes. Raises ProfileError."""
        graphs = {degree: LazyGraph(path, runtime) for degree, path in graph_paths(profile).items()}
        vectors, _ = read_bank(profile.bank_path())
        return cls(graphs, vectors, profile, ObjectNetwork.of(profile, runtime))

    @property
    def capabilities(self) -> Capabilities:
        """What the network can do."""
        return CAPABILITIES if self._objects is None else replace(CAPABILITIES, edges=True)

    def stage(self, name: str) -> NanoModel:
        """The one network, whatever the stage."""
        return self

    def knows(self, concept: str | None) -> bool:
        """Whether the bank holds a text vector of ``concept``."""
        return concept in self._bank

    def understands(self, prompt: Prompt) -> Understood:
        """A target that the weights list and the bank knows."""
        return listed_target(prompt, self._profile, self.knows)

    def candidates(self, modality: str) -> None:
        """Those that the weights list."""

    def plan(self, prompts: Sequence[Prompt], profile: Profile, case: Case) -> Plan:
        """See ``contract.Family``; the case makes no difference."""
        return make_plan(prompts, profile, lambda prompt: listed_target(prompt, profile, self.knows))

    def measure(self, image: np.ndarray) -> tuple[float, float]:
        """Mean and standard deviation of the volume (D, H, W)."""
        return intensity_statistics(image)

    def prepare(self, sampled: np.ndarray, view: View, measured: tuple[float, float]) -> np.ndarray:
        """(d, h, w) float32 0..255 -> (2, d, h, w), see ``network_input.image_channels``."""
        return image_channels(sampled, measured)

    def is_empty(self, window: np.ndarray) -> bool:
        """Whether a window (2, d, h, w) is black."""
        return not bool((window[0] > -1.0).any())

    def encode_prompts(self, queries: Sequence[Query]) -> NanoPrompts:
        """Network inputs of N queries with concepts of the bank: text (N, T), side and modality (N,)."""
        return NanoPrompts(
            np.stack([self._bank[q.concept or ""] for q in queries]).astype(np.float32),
            np.array([SIDE_CODES.index(q.side) for q in queries], np.int64),
            np.array([MODALITIES.index(q.modality) for q in queries], np.int64),
        )

    def encode(self, window: Window) -> Window:
        """The window itself: the graph sees image and prompts at once."""
        return window

    def cost(self, degree: int, voxels: int, prompts: int) -> tuple[str, int]:
        """A graph for each degree, compared by voxels."""
        return f"degree {degree}", voxels

    def decode(
        self, encoded: Window, prompts: NanoPrompts, spatial: np.ndarray | None, user: UserInput | None
    ) -> Decoded:
        """Run one window.

        Args:
            encoded: image (2, d, h, w) float32 of ``prepare``, thick axis first.
            prompts: of N queries.
            spatial: (N, d, h, w) float32 0..1, or None in the coarse stage.
            user: not used; the network takes no boxes and no points.

        Returns:
            probabilities (N, d, h, w) and presence per slice of the first axis (N, d), float32 0..1; edges
            where the network has the head for them and they are used.

        Raises:
            OutOfDeviceMemoryError: a view does not fit into the GPU. Without spatial prompts, where queries
                do not see each other, fewer are run at a time before that, and from then on.
        """
        n = len(prompts.side)
        if spatial is not None:
            return self._run(encoded, spatial, prompts)
        n_max = min(n, self._max_queries or n)
        while True:
            try:
                parts = [
                    self._run(encoded, None, prompts.part(range(first, min(n, first + n_max))))
                    for first in range(0, n, n_max)
                ]
                break
            except OutOfDeviceMemoryError:
                if n_max <= 1:
                    raise
                fewer = (n_max + 1) // 2
                log.warning("%d queries do not fit into GPU memory; %d are run at a time", n_max, fewer)
                self._max_queries = n_max = fewer
        if len(parts) == 1:
            return parts[0]
        presence = [part.presence for part in parts if part.presence is not None]
        edges = [part.edges for part in parts if part.edges is not None]
        return Decoded(
            np.concatenate([p.probability for p in parts]),
            np.concatenate(presence),
            np.concatenate(edges) if len(edges) == len(parts) else None,
        )

    def _run(self, window: Window, spatial: np.ndarray | None, prompts: NanoPrompts) -> Decoded:
        """One call of the graph: arrays as in ``decode``; spatial prompts (N, d, h, w) of zeros for None."""
        if spatial is None:
            spatial = np.zeros((len(prompts.side), *window.image.shape[1:]), np.float32)
        objects = self._objects
        told = objects is not None and objects.modalities.issuperset(prompts.modality.tolist())
        graphs = objects.graphs if objects is not None and told else self._graphs
        out = graphs[window.degree](
            {
                "image": window.image[None],
                "prompt": spatial[None].astype(np.float32, copy=False),
                "text": prompts.text[None],
                "side": prompts.side[None],
                "modality": prompts.modality[None],
            }
        )
        edges = 1 - out["inner"][0] if told and window.edges else None
        return Decoded(out["probability"][0], out["presence"][0], edges)
