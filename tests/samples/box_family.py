"""Sample family: text and boxes, also boxes alone. The whole volume stretched to one shape, then windows
around the user's boxes.

Two graphs: `image` (1, 1, d, h, w) -> `features` (1, 1, d, h, w), once a window; `features`, `level` (N,) ->
`logits` (1, N, d, h, w), as often as it is asked. Boxes cut away what lies outside of them; an unnamed prompt
is as bright as the middle of its first box.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from msgspec import Struct

from tests.samples.slice_family import Levels
from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.families.contract import Capabilities, Decoded, Loader, RunGraph, UserInput, Window
from vesal.inference.families.lazy_graph import LazyGraph
from vesal.inference.geometry.views import View
from vesal.inference.planning.manifest import FileName
from vesal.inference.planning.plan import Plan, Understood, listed_target, make_plan, open_sentence
from vesal.inference.planning.profile import Profile


class Graphs(Struct, frozen=True, forbid_unknown_fields=True):
    """Graph files of this family."""

    encoder: FileName
    decoder: FileName


class Fields(Struct, frozen=True, forbid_unknown_fields=True):
    """What a manifest of this family holds besides what all do."""

    graphs: Graphs
    levels: dict[str, float]
    """Standardised brightness of each concept."""


class BoxFamily:
    """Encoder and decoder, shared by both stages; its own normalisation."""

    capabilities = Capabilities(boxes=True, unnamed=True, edges=True)

    def __init__(
        self, encoder: RunGraph, decoder: RunGraph, levels: dict[str, float], profile: Profile
    ) -> None:
        self._encoder, self._decoder = encoder, decoder
        self._levels, self._profile = levels, profile

    @classmethod
    def describe(cls, profile: Profile) -> Capabilities:
        """Check the fields of the manifest."""
        profile.read_family(Fields)
        return cls.capabilities

    @classmethod
    def open(cls, profile: Profile, runtime: Loader) -> BoxFamily:
        """Read nothing yet."""
        fields = profile.read_family(Fields)
        encoder, decoder = (
            LazyGraph(profile.folder / name, runtime)
            for name in (fields.graphs.encoder, fields.graphs.decoder)
        )
        return cls(encoder, decoder, fields.levels, profile)

    def understands(self, prompt: Prompt) -> Understood:
        """A closed list, and what the user marked without a name."""
        if prompt.unnamed and not prompt.targets:
            return open_sentence(prompt)
        return listed_target(prompt, self._profile, lambda concept: concept in self._levels)

    def candidates(self, modality: str) -> None:
        """Those that the weights list."""

    def plan(self, prompts: Sequence[Prompt], profile: Profile, case: Case) -> Plan:
        """By the profile alone."""
        return make_plan(prompts, profile, self.understands)

    def stage(self, name: str) -> BoxFamily:
        """The one network."""
        return self

    def measure(self, image: np.ndarray) -> tuple[float, float]:
        """Mean and standard deviation of the volume (D, H, W)."""
        return float(image.mean()), float(image.std()) or 1.0

    def prepare(self, sampled: np.ndarray, view: View, measured: tuple[float, float]) -> np.ndarray:
        """(d, h, w) -> (1, d, h, w), standardised."""
        return ((sampled - measured[0]) / measured[1])[None]

    def is_empty(self, window: np.ndarray) -> bool:
        """A window (1, d, h, w) of one value holds nothing."""
        return bool(window.max() == window.min())

    def encode_prompts(self, queries: Sequence[Query]) -> Levels:
        """The level of each query; NaN where it has no name."""
        return Levels(np.array([self._levels.get(q.concept or "", np.nan) for q in queries], np.float32))

    def encode(self, window: Window) -> np.ndarray:
        """Features of a window."""
        return self._encoder({"image": window.image[None]})["features"]

    def decode(
        self, encoded: np.ndarray, prompts: Levels, spatial: np.ndarray | None, user: UserInput | None
    ) -> Decoded:
        """Probabilities, 0 outside of a prompt's boxes where it has some, and edges where they are unsure."""
        levels = prompts.values.copy()
        for row, boxes in enumerate(user.boxes if user else ()):
            if len(boxes) and np.isnan(levels[row]):
                middle = boxes[0].mean(0).round().astype(int)
                levels[row] = encoded[0, 0][tuple(middle.clip(0, np.array(encoded.shape[2:]) - 1))]
        logits = self._decoder({"features": encoded, "level": np.nan_to_num(levels)})["logits"][0]
        probability = 1 / (1 + np.exp(-logits))
        for row, boxes in zip(probability, user.boxes if user else (), strict=False):
            inside = np.zeros(row.shape, bool)
            for start, stop in boxes:
                ends = zip(start.round().clip(0), stop.round().clip(0), strict=True)
                inside[tuple(slice(int(a), int(b)) for a, b in ends)] = True
            if len(boxes):
                row[~inside] = 0
        probability = probability.astype(np.float32, copy=False)
        return Decoded(probability, edges=4 * probability * (1 - probability))

    def cost(self, degree: int, voxels: int, prompts: int) -> tuple[str, int]:
        """The same graphs in both stages."""
        return "volume", voxels
