"""What a case gives: its label map, what ran, and what the report counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from vesal.inference.data.orientation import STORED, Orientation
from vesal.inference.data.results import LadderStep, PromptResult, StageReport
from vesal.inference.geometry.views import View
from vesal.inference.stages.classes import ClassMasks
from vesal.inference.stages.kept_class import KeptClass
from vesal.inference.stages.slice_presence import SlicePresence, presence_along_d

Save = Callable[[np.ndarray], None]
"""Writes a label map (D, H, W) as the case's output."""

ViewProbability = tuple[KeptClass, View]
"""(d, h, w) float32 of one query, and the view it lies on"""


@dataclass
class Progress:
    """What ran of a case so far, for the report of one that is not finished."""

    stages: list[StageReport]
    ladder: list[LadderStep]
    fallbacks: list[str]


@dataclass(frozen=True)
class Segmentation:
    """The result of a case."""

    labels: np.ndarray
    """(D, H, W) unsigned: prompt ids, or object ids for instances"""
    count: Callable[[], dict[int, PromptResult]]
    """counts the result of each prompt"""
    stages: list[StageReport]
    ladder: list[LadderStep]
    fallbacks: list[str]
    probabilities: dict[int, list[ViewProbability]] = field(default_factory=dict)
    """prompt id -> probabilities of the last stage; empty unless they are kept"""
    orientation: Orientation = STORED
    """how the case was turned for the network; ``probabilities`` still are"""
    edges: dict[int, list[ViewProbability]] = field(default_factory=dict)
    """the same of the edges of objects, where the family tells them"""
    classes: ClassMasks | None = None
    """the mask of each prompt, whoever has its voxels in ``labels``; reversed as ``probabilities`` are"""
    presence: dict[int, list[SlicePresence]] = field(default_factory=dict)
    """class -> presence per slice of its passes, where the family tells it, see ``slice_presence``"""
    notes: tuple[str, ...] = ()
    """what the report notes beside: user prompts that the weights do not take"""

    def mask(self, prompt_id: int) -> np.ndarray:
        """(D, H, W) bool, reversed as ``probabilities`` are: the whole result of a prompt."""
        if self.classes is None:
            return np.zeros(self.labels.shape, bool)
        return self.classes.of(prompt_id)

    def presence_along_d(self) -> dict[int, np.ndarray]:
        """Of each prompt of which the network told presence, see ``slice_presence.presence_along_d``."""
        own = self.classes.classes if self.classes else {}
        classes = {id_: own.get(id_, (id_,)) for id_ in self.prompts}
        return presence_along_d(self.presence, classes, self.labels.shape[0], self.orientation)

    @cached_property
    def prompts(self) -> dict[int, PromptResult]:
        """The result of each prompt, counted when first asked for: after the labels are on disk."""
        return self.count()
