"""Family ``closed``: a network with an output for each class of a list, run in windows at one spacing.

Such networks know nothing of a sentence: a prompt is one of their classes or is not covered. A window is run
once, whatever is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta, Struct

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.families.contract import Capabilities, Decoded, Loader, RunGraph, UserInput, Window
from vesal.inference.families.lazy_graph import LazyGraph
from vesal.inference.families.network_input import intensity_statistics
from vesal.inference.geometry.views import View
from vesal.inference.planning.manifest import FileName, Side
from vesal.inference.planning.plan import Plan, Understood, listed_target, make_plan
from vesal.inference.planning.profile import Profile

CAPABILITIES = Capabilities(layouts=("window", "fit", "stretch"))
SHOWN_HU = (-160.0, 240.0)
"""What 0 and 255 of a CT stand for: the challenge's soft tissue window."""
SMALLEST = 1e-9
"""Under a sum of probabilities."""


class HounsfieldWindow(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="window"):
    """CT: a range of Hounsfield units brought to -1..1, what is beyond it cut off."""

    low_hu: float
    high_hu: float

    def of(self, image: np.ndarray, measured: tuple[float, float]) -> np.ndarray:
        """(d, h, w) float32 0..255 -> the same shape."""
        low, high = SHOWN_HU
        units = image * np.float32((high - low) / 255) + np.float32(low)
        share = (units - np.float32(self.low_hu)) / np.float32(self.high_hu - self.low_hu)
        scaled: np.ndarray = np.clip(share, 0, 1) * np.float32(2) - np.float32(1)
        return scaled


class Standardised(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="standardised"):
    """Less the volume's mean, divided by its standard deviation."""

    def of(self, image: np.ndarray, measured: tuple[float, float]) -> np.ndarray:
        """(d, h, w) float32 0..255 -> the same shape; ``measured``: mean and deviation."""
        mean, deviation = measured
        scaled: np.ndarray = (image - np.float32(mean)) / np.float32(deviation)
        return scaled


class ClosedClass(Struct, frozen=True, forbid_unknown_fields=True):
    """What one output of the network stands for."""

    concept: str
    side: Side | None = None


class ClosedGraphs(Struct, frozen=True, forbid_unknown_fields=True):
    """Graph files."""

    network: FileName
    """image (1, C, d, h, w) -> probability (1, classes, d, h, w), the background first."""


class ClosedNetwork(Struct, frozen=True, forbid_unknown_fields=True):
    """What the conversion found out about the network."""

    channels: Annotated[int, Meta(ge=1)] = 1
    """Of the image: one scan is shown in all of them."""
    multiple_dhw: tuple[int, int, int] = (1, 1, 1)
    """Sides of a window are multiples of these."""
    precision: Literal["bf16", "fp32"] | None = None
    """To run it in; None leaves it to the runtime."""
    # What follows only people read.
    parameters: int | None = None
    stored: str | None = None
    why: str | None = None
    agreement: Any = None


class ClosedFields(Struct, frozen=True, forbid_unknown_fields=True):
    """What a manifest of this family holds besides what all do."""

    graphs: ClosedGraphs
    classes: Annotated[tuple[ClosedClass, ...], Meta(min_length=1)]
    """Of the outputs behind the background, in their order."""
    intensity: HounsfieldWindow | Standardised
    network: ClosedNetwork = ClosedNetwork()


@dataclass(frozen=True)
class ClosedPrompts:
    """N queries."""

    outputs: np.ndarray
    """(N,) int64, which output each is"""

    def part(self, rows: Sequence[int]) -> ClosedPrompts:
        """Some of the queries."""
        return ClosedPrompts(self.outputs[list(rows)])


class ClosedModel:
    """See the module's docstring. All stages use the one network."""

    def __init__(self, graph: RunGraph, fields: ClosedFields, profile: Profile) -> None:
        self._graph, self._fields, self._profile = graph, fields, profile
        self._outputs = {(each.concept, each.side): n for n, each in enumerate(fields.classes, 1)}

    @classmethod
    def describe(cls, profile: Profile) -> Capabilities:
        """See ``contract.FamilyType``."""
        profile.read_family(ClosedFields)
        return CAPABILITIES

    @classmethod
    def open(cls, profile: Profile, runtime: Loader) -> ClosedModel:
        """Open the weights; the graph is read when it is first run. Raises ProfileError."""
        fields = profile.read_family(ClosedFields)
        path = profile.file(fields.graphs.network)
        return cls(LazyGraph(path, runtime, fields.network.precision, one_shape=True), fields, profile)

    @property
    def capabilities(self) -> Capabilities:
        """What the network can do."""
        return CAPABILITIES

    def stage(self, name: str) -> ClosedModel:
        """The one network, whatever the stage."""
        return self

    def knows(self, concept: str | None) -> bool:
        """Whether an output stands for ``concept``, of whatever side."""
        return any(concept == known for known, _ in self._outputs)

    def understands(self, prompt: Prompt) -> Understood:
        """A target that the weights list."""
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
        """(d, h, w) float32 0..255 -> (1, d, h, w), see ``ClosedFields.intensity``."""
        return self._fields.intensity.of(sampled, measured).astype(np.float32, copy=False)[None]

    def is_empty(self, window: np.ndarray) -> bool:
        """Whether a window (1, d, h, w) is of one value."""
        return bool(window.min() == window.max())

    def encode_prompts(self, queries: Sequence[Query]) -> ClosedPrompts:
        """The output of each query."""
        at = [self._outputs[(query.concept or "", query.side)] for query in queries]
        return ClosedPrompts(np.array(at, np.int64))

    def cost(self, degree: int, voxels: int, prompts: int) -> tuple[str, int]:
        """One graph, compared by voxels."""
        return "window", voxels

    def encode(self, window: Window) -> np.ndarray:
        """Run the network on a window: probabilities (classes, d, h, w), the background first."""
        d, h, w = window.image.shape[1:]
        sides = zip((d, h, w), self._fields.network.multiple_dhw, strict=True)
        padding = [(0, 0), *((0, -n % multiple) for n, multiple in sides)]
        shown = np.repeat(window.image, self._fields.network.channels, 0)
        # Beyond a small view its last voxels go on.
        found = self._graph({"image": np.pad(shown, padding, "edge")[None]})["probability"][0]
        return found[:, :d, :h, :w]

    def decode(
        self, encoded: np.ndarray, prompts: ClosedPrompts, spatial: np.ndarray | None, user: UserInput | None
    ) -> Decoded:
        """What a window says of some classes.

        Args:
            encoded: of ``encode``.
            prompts: of N queries.
            spatial: not used, nor ``user``: these networks take neither.

        Returns:
            (N, d, h, w) float32: p / (p + q), q being the largest probability of all other classes. It is
            above a half where the class is the most probable, whichever others are asked for.
        """
        order = np.partition(encoded, -2, 0)
        largest, second = order[-1], order[-2]
        own = encoded[prompts.outputs]
        other = np.where(own >= largest, second, largest)
        return Decoded((own / np.maximum(own + other, SMALLEST)).astype(np.float32, copy=False))
