"""Prompts without a sentence: which of them can be run, and what stands in for the others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.orientation import STORED, Orientation
from vesal.inference.data.prompt import Prompt
from vesal.inference.data.results import Candidate, PromptResult
from vesal.inference.data.user_prompts import UserMask, UserPrompts
from vesal.inference.families.contract import Capabilities
from vesal.inference.planning.plan import Plan
from vesal.inference.stages.classes import ClassMasks
from vesal.inference.stages.segmentation import Segmentation

KEPT = "what the user's mask has of it is kept"


@dataclass(frozen=True)
class Names:
    """What came of the search for names of what was marked (``identify``), for reasons."""

    candidates: Mapping[int, Sequence[Candidate]] = field(default_factory=dict)
    """by prompt id, the best first; none of what agrees with nothing"""
    least: float = 0.0
    """score from which a name is sure enough"""
    late: str = ""
    """why nothing was searched; empty where it was"""


def runnable(
    prompts: Sequence[Prompt],
    user: UserPrompts,
    can: Capabilities,
    weights: str,
    takes: Sequence[str] | None = None,
    names: Names | None = None,
) -> tuple[tuple[Prompt, ...], dict[int, str]]:
    """The prompts that the family can be asked for, and why others cannot be run, by id.

    Args:
        prompts: of the case; an unnamed one that was given a target is like one with a sentence.
        user: what the weights can use of the user prompts.
        can: of the family.
        weights: their name.
        takes: kinds of user prompts that are used; None: all that the family takes.
        names: what came of the search for names, where there was one.
    """
    takes = can.user_prompts() if takes is None else takes
    refused: dict[int, str] = {}
    for prompt in prompts:
        if not prompt.unnamed or prompt.targets:
            continue
        placed = is_placed(prompt.id, user)
        if placed and can.unnamed:
            continue
        why = _no_name(prompt.id, weights, names or Names()) if placed else _no_place(weights, takes)
        refused[prompt.id] = f"{prompt.why}, and {why}"
    return tuple(prompt for prompt in prompts if prompt.id not in refused), refused


def _no_place(weights: str, takes: Sequence[str]) -> str:
    if not takes:
        return f"the weights {weights} find things by their names only"
    return f"nothing that the weights {weights} take ({', '.join(takes)}) says where it is"


def _no_name(id_: int, weights: str, names: Names) -> str:
    """Why what was marked is run as no target; the best candidates, as far as any agrees at all."""
    if names.late:
        return names.late
    best = names.candidates.get(id_, ())
    if not best:
        return f"no target that the weights {weights} know agrees with what was marked"
    told = ", ".join(f"{each.target} {each.score:g}" for each in best)
    return (
        f"no target that the weights {weights} know agrees well enough with what was marked: {told}; "
        f"{names.least:g} is wanted"
    )


def is_placed(id_: int, user: UserPrompts) -> bool:
    """Whether a box, a point inside or a mask says where a prompt is; points outside alone do not."""
    inside = any(point.foreground for point in user.points.get(id_, ()))
    return inside or id_ in user.boxes or (user.mask is not None and id_ in user.mask.ids)


@dataclass(frozen=True, eq=False)
class KeptMask:
    """The user's mask as the result of unnamed prompts that are not run; with objects nothing is kept."""

    mask: UserMask | None
    """with the ids of these prompts"""

    @classmethod
    def of(cls, case: Case, prompts: Sequence[Prompt], plan: Plan) -> KeptMask:
        """What is kept of a case's mask under a plan."""
        ids = [prompt.id for prompt in prompts if prompt.unnamed and prompt.id in plan.refused]
        return cls(None if case.instance else case.user.of(ids).mask)

    @property
    def ids(self) -> tuple[int, ...]:
        """The prompts of which something is kept."""
        return () if self.mask is None else self.mask.ids

    def told(self, plan: Plan) -> Plan:
        """The plan whose reasons say what is kept."""
        kept = {id_: f"{plan.refused[id_]}; {KEPT}" for id_ in self.ids}
        return replace(plan, refused={**plan.refused, **kept})

    def added(self, labels: np.ndarray, turned: Orientation = STORED) -> np.ndarray:
        """Labels (D, H, W), turned as ``turned`` says, with what is kept where they are 0; the same array
        where nothing is.
        """
        if self.mask is None:
            return labels
        given = turned.turn(self.mask.labels)
        return np.where(np.isin(given, self.ids) & (labels == 0), given.astype(labels.dtype), labels)

    def in_result(self, result: Segmentation, case: Case) -> Segmentation:
        """A result with what is kept: in its labels, its masks and its counts."""
        if self.mask is None:
            return result
        labels = self.added(result.labels)
        masks = result.classes and ClassMasks(
            self.added(result.classes.labels, result.orientation), result.classes.classes
        )
        voxel_ml = math.prod(case.spacing_dhw_mm) / 1000

        def count() -> dict[int, PromptResult]:
            counted = result.count()
            for id_ in self.ids:
                voxels = int(np.count_nonzero(labels == id_))
                counted[id_] = replace(counted[id_], voxels=voxels, volume_ml=voxels * voxel_ml)
            return counted

        return replace(result, labels=labels, classes=masks, count=count)
