"""Spatial prompts: from the coarse result, or from the user's mask (Medal S, hybrid mode)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from vesal.inference.data.prompt import Query
from vesal.inference.data.terms import OFF
from vesal.inference.data.user_prompts import UserMask, UserPrompts
from vesal.inference.geometry.resample import to_view
from vesal.inference.geometry.view_groups import bounding_box
from vesal.inference.geometry.views import Box, View, triple
from vesal.inference.planning.plan import Batch
from vesal.inference.planning.rules import LabelRegion, StageRule

PromptSampler = Callable[[View], np.ndarray]
"""View -> spatial prompt (N,d,h,w): float32 0..1, or bool"""


@dataclass(frozen=True)
class MaskPrompt(UserMask):
    """A user's mask as the stages use it: its boxes, and sampled on views."""

    @classmethod
    def of(cls, user: UserPrompts) -> MaskPrompt | None:
        """The mask of a case's user prompts; None where there is none."""
        mask = user.mask
        return None if mask is None else cls(mask.labels, mask.ids, mask.source)

    def box(self, ids: Collection[int]) -> Box | None:
        """The box of some prompts' voxels in native voxel edges; None where they have none."""
        mine = [self._boxes[id_] for id_ in set(ids) & self._boxes.keys()]
        if not mine:
            return None
        return Box(
            triple(float(min(box[axis].start for box in mine)) for axis in range(3)),
            triple(float(max(box[axis].stop for box in mine)) for axis in range(3)),
        )

    @cached_property
    def _boxes(self) -> dict[int, tuple[slice, slice, slice]]:
        """Each prompt's box, found in one pass: the volume may be large and the prompts many."""
        from vesal.postprocess.components import class_boxes

        return class_boxes(self.labels)

    def sampled(self, prompt_id: int, view: View) -> np.ndarray:
        """(d,h,w) float32 on `view`: the share of each view voxel that belongs to a prompt.

        For a stroke so thin that it fills half of no view voxel, or falls between the samples of a view,
        shares by area are scaled to a maximum of 1: else it would be lost.
        """
        mine = (self.labels == prompt_id).view(np.uint8)
        shares = to_view(mine, view)
        if shares.max(initial=0.0) > 0.5:
            return shares
        if view.sampling is not None:
            shares = to_view(mine, replace(view, sampling=None))
        largest = shares.max(initial=0.0)
        return shares / largest if largest else shares


@dataclass(frozen=True)
class StageMask:
    """A case's mask, if there is one, and the stage that takes it."""

    mask: MaskPrompt | None
    stage: str
    """By name, or `off`."""

    def of(self, batch: Batch, rule: StageRule) -> MaskPrompt | None:
        """The mask if the stage of ``rule`` takes it: by ``stage``, or as that one is not run for this
        batch.
        """
        run = [each for each in batch.stages if not each.skip]
        takes = next((each for each in run if each.name == self.stage), run[-1] if run else None)
        return self.mask if self.stage != OFF and takes == rule else None


def has_mask(mask: MaskPrompt | None, query: Query) -> bool:
    """Whether the user's mask holds the prompt that a query belongs to."""
    return mask is not None and query.prompt_id in mask.ids


def split_by_mask(queries: Sequence[Query], mask: MaskPrompt | None, max_queries: int) -> list[list[int]]:
    """Rows of queries in order, split between those with and without a mask, and after every ``max_queries``.

    So queries without a mask run exactly as in a case without one.
    """
    runs: list[list[int]] = []
    for row, query in enumerate(queries):
        same = bool(runs) and has_mask(mask, query) == has_mask(mask, queries[runs[-1][0]])
        if same and len(runs[-1]) < max_queries:
            runs[-1].append(row)
        else:
            runs.append([row])
    return runs


def union_box(given: Box, found: Box | None) -> Box:
    """The box of the user's mask together with the coarse result's, if any.

    Both, as a mask may cover only a part of the target: a stroke in one slice.
    """
    return given if found is None else bounding_box([given, found])


def overlay_mask(
    labels: np.ndarray | None, queries: Sequence[Query], mask: MaskPrompt | None
) -> np.ndarray | None:
    """A coarse label map (D,H,W) in which the user's masks replace their prompts' labels.

    None where there is neither.
    """
    ids = sorted({q.prompt_id for q in queries if has_mask(mask, q)})
    if mask is None or not ids:
        return labels
    given = np.where(np.isin(mask.labels, ids), mask.labels, 0)
    if labels is None:
        return given
    return np.where(given > 0, given, np.where(np.isin(labels, ids), 0, labels))


def prompt_from_labels(
    queries: Sequence[Query], labels: np.ndarray, region: LabelRegion, mask: MaskPrompt | None
) -> PromptSampler:
    """A sampler of the masks (N,d,h,w) bool of a label map (D,H,W), as a family samples it.

    Args:
        queries: N of them.
        labels: prompt ids, the user's ``mask`` laid over them.
        region: samples it.
        mask: a part too thin for these samples is kept where its share is largest.
    """

    def prompt(view: View) -> np.ndarray:
        sampled = region.prompt_labels(labels, view)
        masks = np.stack([sampled == query.prompt_id for query in queries])
        for row, query in zip(masks, queries, strict=True):
            if mask is not None and has_mask(mask, query) and not row.any():
                row[...] = mask.sampled(query.prompt_id, view) > 0.5
        return masks

    return prompt


def prompt_from_probabilities(
    queries: Sequence[Query],
    mask: MaskPrompt | None,
    otherwise: Callable[[int, View], np.ndarray] | None = None,
) -> PromptSampler:
    """A sampler of the spatial prompt (N,d,h,w) float32 0..1 on a view.

    Args:
        queries: N of them.
        mask: the user's.
        otherwise: row and view -> (d,h,w), for prompts that the mask does not hold; None gives them zeros.
    """

    def prompt(view: View) -> np.ndarray:
        out = np.zeros((len(queries), *view.shape), np.float32)
        for row, query in enumerate(queries):
            if mask is not None and has_mask(mask, query):
                out[row] = mask.sampled(query.prompt_id, view)
            elif otherwise is not None:
                out[row] = otherwise(row, view)
        return out

    return prompt
