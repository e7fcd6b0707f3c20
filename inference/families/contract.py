"""The family contract: what the engine needs of a kind of network, and what a network needs of a runtime.

Everything that is true of one kind of network and not of all stands in its family, behind this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt, Query, Target
from vesal.inference.data.user_prompts import BOXES, KINDS, MASK, POINTS
from vesal.inference.geometry.views import View
from vesal.inference.planning.plan import Plan, Understood
from vesal.inference.planning.profile import Profile

RunGraph = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
"""A loaded network: arrays by name in, arrays by name out, which the caller may write to."""


class Loader(Protocol):
    """The part of a runtime that is used here."""

    def load(self, path: Path, precision: str | None = None, one_shape: bool | str = False) -> RunGraph:
        """Read a graph.

        `precision` is `bf16`, `fp32`, or None, which leaves it to the runtime; `one_shape` says that nearly
        all runs have the same shapes, `always` that this may change the last bits.
        """


@dataclass(frozen=True)
class StageName:
    """A stage that a family has a network for, see ``planning.rules.StageRule``."""

    name: str
    role: str


@dataclass(frozen=True)
class Capabilities:
    """What a family can do with one set of weights."""

    open_vocabulary: bool = False
    """It reads any sentence, through a text encoder of its own; else it has a list of targets."""
    text_embeddings: bool = False
    """It takes text vectors that the user made elsewhere."""
    mask: bool = False
    """It takes spatial prompts: masks of the user's, and the result of the stage or round before."""
    boxes: bool = False
    """It takes the user's boxes."""
    points: bool = False
    """It takes the user's points."""
    drawn: tuple[str, ...] = ()
    """Which of boxes and points its network does not see as such: they reach it as spatial prompts, and
    choose among what it found (``stages.marks``)."""
    unnamed: bool = False
    """It runs a prompt without a sentence (``Prompt.unnamed``) by the boxes or points of the user alone."""
    presence: bool = False
    """It predicts for each slice whether a target is there."""
    edges: bool = False
    """It predicts the edges of objects."""
    degrees: bool = False
    """Its network has degrees of anisotropy (SPAD-Nets)."""
    highest_degree: int = 2
    """... of which this is the highest that it has a graph for."""
    layouts: tuple[str, ...] = ()
    """Kinds of layouts (``geometry.layouts``) that its network can be run on; empty: any."""
    side_multiple: int = 1
    """What sides of a window are multiples of."""
    context: int | None = None
    """Slices of context that it sees at each end of a run; None: any number."""
    stages: tuple[StageName, ...] = ()
    """Stages that it has a network for; empty: its network serves any."""

    mirrors: bool = False
    """Its windows may be mirrored (``StageRule.mirror_axes``): what it says of one depends on its image and
    spatial prompts alone, not on where it lies."""
    stored_numbers: bool = False
    """It takes the numbers of a volume as its file stores them (``Case.numbers``), Hounsfield units say;
    where they came as uint8 it gets these."""

    def user_prompts(self) -> tuple[str, ...]:
        """Kinds of user prompts that it takes, of ``data.user_prompts.KINDS``."""
        takes = {MASK: self.mask, BOXES: self.boxes or self.mask, POINTS: self.points or self.mask}
        return tuple(kind for kind in KINDS if takes[kind])

    def draws(self) -> tuple[str, ...]:
        """Of boxes and points those that are drawn as spatial prompts: ``drawn``, and what a family with
        spatial prompts does not take itself.
        """
        own = {BOXES: self.boxes, POINTS: self.points}
        return tuple(kind for kind in own if kind in self.drawn or (self.mask and not own[kind]))


class EncodedPrompts(Protocol):
    """N queries as the family encoded them, once a case."""

    def part(self, rows: Sequence[int]) -> Self:
        """Some of the queries, in the order of ``rows``."""


@dataclass(frozen=True, eq=False)
class UserInput:
    """What the user marked of N queries, in the voxels of a window or view; its axes, its order."""

    boxes: tuple[np.ndarray, ...]
    """For each query (K, 2, 3) float64: start and stop, where voxel j covers [j, j + 1); K may be 0"""
    points: tuple[np.ndarray, ...]
    """For each query (K, 4) float64: place, where voxel j has its centre at j, and 1 for foreground, 0 for
    background; K may be 0"""


@dataclass(frozen=True, eq=False)
class Window:
    """One window as the network sees it: thick axis first, with the context of its layout."""

    image: np.ndarray
    """(C, d, h, w) float32 of ``StageModel.prepare``"""
    degree: int
    """of anisotropy of its view"""
    context: int = 0
    """slices at each end of the first axis that are seen and not predicted"""
    prompted: bool = False
    """whether it is decoded with spatial prompts: a family may encode them with the image"""
    first: int = 0
    """index in its view of the first slice that is predicted, from the first slice of the volume on where the
    view has every slice of it"""
    before: int = 0
    """slices of the view in front of the predicted ones; context beyond them is its border"""
    behind: int = 0
    """the same behind them"""
    measured: Any = None
    """of the whole volume, see ``Family.measure``"""
    view: View | None = None
    """that it is a part of"""
    corner: tuple[int, int, int] = (0, 0, 0)
    """first voxel (D, H, W) in its view, axes of the view"""
    edges: bool = True
    """whether edges are used: a family that tells them may leave them out"""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(d, h, w) of what is predicted."""
        d, h, w = self.image.shape[1:]
        return d - 2 * self.context, h, w


Enlarge = Callable[[np.ndarray, tuple[int, int]], np.ndarray]
"""Planes (n, a, b) float32 as a network tells them, and (h, w) of a slice: probabilities (n, h, w) float32
0..1. What lies between two slices is interpolated before."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """What the network says of N queries in one window; the caller may write to the arrays."""

    probability: np.ndarray
    """(N, d, h, w) float32 0..1, of the voxels that are predicted; logits where the rule of the stage says so
    (``StageRule.blends_logits``)"""
    presence: np.ndarray | None = None
    """(N, d) float32 0..1; None where the family tells none"""
    edges: np.ndarray | None = None
    """(N, d, h, w) float32 0..1: where one object ends; None where the family tells none"""
    enlarge: Enlarge | None = None
    """where windows are runs of slices, a family may tell what its network does, on a coarser grid: both
    arrays are then (N, d, a, b) float32 of any numbers, and this makes probabilities of them"""


class StageModel(Protocol):
    """A family as one of its stages uses it."""

    def prepare(self, sampled: np.ndarray, view: View, measured: Any) -> np.ndarray:
        """A sampled volume as the network's input: its normalisation and channels.

        Args:
            sampled: (d, h, w) float32, 0..255 but for ``Capabilities.stored_numbers``; may be written to.
            view: on which it was sampled.
            measured: of the whole volume, see ``Family.measure``.

        Returns:
            (C, d, h, w) float32.
        """

    def is_empty(self, window: np.ndarray) -> bool:
        """Whether a window (C, d, h, w) of what ``prepare`` gave shows nothing, and need not be run."""

    def encode(self, window: Window) -> Any:
        """What does not depend on the prompts, once a window. Raises OutOfDeviceMemoryError."""

    def decode(
        self, encoded: Any, prompts: Any, spatial: np.ndarray | None, user: UserInput | None
    ) -> Decoded:
        """The prompts' part of one window, any number of times on one encoding.

        Args:
            encoded: of ``encode``.
            prompts: N queries of ``Family.encode_prompts``.
            spatial: spatial prompts (N, d, h, w) float32 0..1, or bool; None where there are none.
            user: boxes and points, in voxels of the window; None where there are none.

        Raises:
            OutOfDeviceMemoryError: the window does not fit into the GPU.
        """

    def cost(self, degree: int, voxels: int, prompts: int) -> tuple[str, int]:
        """By what calls are compared in the forecast: the name of the graphs that are run, and the number of
        voxels that counts.
        """


class Family(Protocol):
    """What the engine needs of a kind of network. Several threads may use it, each for a case of its own."""

    @property
    def capabilities(self) -> Capabilities:
        """What it can do with these weights."""

    def understands(self, prompt: Prompt) -> Understood:
        """Whether a prompt can be run, and as what: a target of its list, or the sentence as it stands."""

    def candidates(self, modality: str) -> Sequence[Target] | None:
        """The targets by whose names a prompt without a sentence is searched, see ``stages.identify``.

        None: those that the profile lists in this modality. A family that reads any sentence may tell others.
        """

    def plan(self, prompts: Sequence[Prompt], profile: Profile, case: Case) -> Plan:
        """The plan of a case: its queries and their rules, with the layout of every stage.

        Args:
            prompts: of the case.
            profile: the weights' own, or with some of its fields changed.
            case: what its volume is decides too, in some families.
        """

    def stage(self, name: str) -> StageModel:
        """As the stage of this name uses it."""

    def measure(self, image: np.ndarray) -> Any:
        """What ``StageModel.prepare`` needs to know of the whole volume (D, H, W), once a case; uint8 but for
        ``Capabilities.stored_numbers``.
        """

    def encode_prompts(self, queries: Sequence[Query]) -> EncodedPrompts:
        """All queries of a case, once. Raises ProfileError."""


class FamilyType(Protocol):
    """How a family is opened: what the registry holds."""

    def describe(self, profile: Profile) -> Capabilities:
        """What the weights of a profile can do, without reading a graph. Raises ProfileError."""

    def open(self, profile: Profile, runtime: Loader) -> Family:
        """Open the weights of a profile; its graphs are read when they are first run. Raises ProfileError."""
