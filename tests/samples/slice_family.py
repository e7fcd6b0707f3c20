"""Sample family: a 2.5D network. It sees a slice with its two neighbours, and tells whether a target is
there.

Its graph finds by brightness: `slices` (S, 3, h, w) 0..1 and `level` (N,) -> `probability` (S, N, h, w) and
`presence` (S, N).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from msgspec import Struct

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.families.contract import Capabilities, Decoded, Loader, RunGraph, UserInput, Window
from vesal.inference.families.lazy_graph import LazyGraph
from vesal.inference.geometry.views import View
from vesal.inference.planning.manifest import FileName
from vesal.inference.planning.plan import Plan, Understood, listed_target, make_plan
from vesal.inference.planning.profile import Profile

CONTEXT = 1
"""Slices before and behind that the network sees; the layout of the profile gives as many."""


class Graphs(Struct, frozen=True, forbid_unknown_fields=True):
    """Graph files of this family."""

    network: FileName


class Fields(Struct, frozen=True, forbid_unknown_fields=True):
    """What a manifest of this family holds besides what all do."""

    graphs: Graphs
    levels: dict[str, float]
    """Brightness 0..1 of each concept."""


@dataclass(frozen=True)
class Levels:
    """N queries: what is looked for, (N,) float32."""

    values: np.ndarray

    def part(self, rows: Sequence[int]) -> Levels:
        """Some of the queries."""
        return Levels(self.values[list(rows)])


class SliceFamily:
    """One network for every stage."""

    capabilities = Capabilities(presence=True, layouts=("slices",), context=CONTEXT)

    def __init__(self, graph: RunGraph, levels: dict[str, float], profile: Profile) -> None:
        self._graph, self._levels, self._profile = graph, levels, profile

    @classmethod
    def describe(cls, profile: Profile) -> Capabilities:
        """Check the fields of the manifest."""
        profile.read_family(Fields)
        return cls.capabilities

    @classmethod
    def open(cls, profile: Profile, runtime: Loader) -> SliceFamily:
        """Read nothing yet."""
        fields = profile.read_family(Fields)
        return cls(LazyGraph(profile.folder / fields.graphs.network, runtime), fields.levels, profile)

    def understands(self, prompt: Prompt) -> Understood:
        """A closed list."""
        return listed_target(prompt, self._profile, lambda concept: concept in self._levels)

    def candidates(self, modality: str) -> None:
        """Those that the weights list."""

    def plan(self, prompts: Sequence[Prompt], profile: Profile, case: Case) -> Plan:
        """By the profile alone."""
        return make_plan(prompts, profile, self.understands)

    def stage(self, name: str) -> SliceFamily:
        """The one network."""
        return self

    def measure(self, image: np.ndarray) -> None:
        """Nothing of the volume (D, H, W) is needed."""

    def prepare(self, sampled: np.ndarray, view: View, measured: None) -> np.ndarray:
        """(d, h, w) 0..255 -> (1, d, h, w) 0..1."""
        return (sampled / 255)[None]

    def is_empty(self, window: np.ndarray) -> bool:
        """Black slices (1, d, h, w) hold nothing."""
        return not window.any()

    def encode_prompts(self, queries: Sequence[Query]) -> Levels:
        """The level of each query."""
        return Levels(np.array([self._levels[q.concept or ""] for q in queries], np.float32))

    def encode(self, window: Window) -> np.ndarray:
        """Each slice with its neighbours: (d, 3, h, w)."""
        slices = window.image[0]
        count = len(slices) - 2 * CONTEXT
        return np.stack([slices[i : i + count] for i in range(2 * CONTEXT + 1)], 1)

    def decode(
        self, encoded: np.ndarray, prompts: Levels, spatial: np.ndarray | None, user: UserInput | None
    ) -> Decoded:
        """Probability and presence of every slice."""
        found = self._graph({"slices": encoded, "level": prompts.values})
        return Decoded(np.ascontiguousarray(found["probability"].swapaxes(0, 1)), found["presence"].T.copy())

    def cost(self, degree: int, voxels: int, prompts: int) -> tuple[str, int]:
        """One graph."""
        return "slices", voxels
