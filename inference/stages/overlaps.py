"""Prompts of which one lies in the other: in the label map the smaller one has what they share.

While a case runs, classes compete by probability, and what is inside of another thing (a tumour in its organ)
loses where that is surer of itself. Here, where probabilities are kept, such prompts get their whole masks
back, and the smaller one its voxels; of all others the more probable one still has a voxel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from vesal.inference.data.prompt import Prompt
from vesal.inference.data.results import PromptResult
from vesal.inference.stages.classes import ClassMasks
from vesal.inference.stages.grid_labels import Box
from vesal.inference.stages.native_views import take_larger
from vesal.inference.stages.prompt_results import said_of_lost
from vesal.inference.stages.segmentation import Segmentation

INSIDE = 0.5
"""Share of the smaller one's voxels from which on it lies in the larger: neighbours share a border only."""


@dataclass(frozen=True, eq=False)
class WholeMasks(ClassMasks):
    """Masks of prompts with what another prompt's class has in the label map."""

    more: Mapping[int, np.ndarray] = field(default_factory=dict)
    """prompt id -> (D, H, W) bool"""

    def of(self, prompt_id: int) -> np.ndarray:
        """(D, H, W) bool."""
        mine = super().of(prompt_id)
        return mine | self.more[prompt_id] if prompt_id in self.more else mine


@dataclass(frozen=True)
class _Kept:
    """What is needed of one prompt."""

    prompt: Prompt
    box: Box
    """Around all of ``above``: masks of whole volumes would take gigabytes where many are asked for."""
    above: np.ndarray
    """(d, h, w) bool, in the box: where its probability is above the threshold"""

    @classmethod
    def of(cls, prompt: Prompt, above: np.ndarray) -> _Kept:
        """Of a mask (D, H, W) of the volume."""
        lines = [np.flatnonzero(np.any(above, axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
        d, h, w = (slice(int(n[0]), int(n[-1]) + 1) if len(n) else slice(0, 0) for n in lines)
        return cls(prompt, (d, h, w), above[d, h, w].copy())

    @cached_property
    def voxels(self) -> int:
        return int(np.count_nonzero(self.above))

    def within(self, other: _Kept) -> tuple[Box, np.ndarray]:
        """What both have: a box, and a mask (d, h, w) in it."""
        sides = zip(self.box, other.box, strict=True)
        starts, stops = zip(*((max(a.start, b.start), min(a.stop, b.stop)) for a, b in sides), strict=True)
        d, h, w = (slice(a, max(a, b)) for a, b in zip(starts, stops, strict=True))
        return (d, h, w), self._part((d, h, w)) & other._part((d, h, w))

    def _part(self, box: Box) -> np.ndarray:
        own = zip(box, self.box, strict=True)
        return self.above[tuple(slice(s.start - mine.start, s.stop - mine.start) for s, mine in own)]


def let_smaller_win(
    found: Segmentation, prompts: Sequence[Prompt], threshold: float, voxel_ml: float
) -> Segmentation:
    """The result of a case with whole masks, and the smaller of two nested prompts on top.

    Args:
        found: with probabilities; one without is returned as it is. Its labels are ids of prompts.
        prompts: of the case.
        threshold: from which probability on a voxel is foreground.
        voxel_ml: volume of a voxel.
    """
    asked = [prompt for prompt in prompts if prompt.id in found.probabilities]
    if found.classes is None or len(asked) < 2:
        return found
    kept = [_Kept.of(prompt, _probability(found, prompt.id) >= threshold) for prompt in asked]
    classes = found.classes.classes
    apart = (pair for pair in combinations(kept, 2) if not _share(pair, classes))
    nested = [pair for pair in map(_nested, apart) if pair is not None]
    if not nested:
        return found
    labels = found.orientation.turn(found.labels).copy()
    more: dict[int, np.ndarray] = {}
    # The smallest last, so that it lies on top of all that it is in.
    for inner, outer in sorted(nested, key=lambda pair: -pair[0].voxels):
        box, both = inner.within(outer)
        part = labels[box]
        part[both & (part == outer.prompt.id)] = inner.prompt.id
        for each in (inner, outer):
            more.setdefault(each.prompt.id, np.zeros(labels.shape, bool))[box] |= both
    masks = WholeMasks(found.classes.labels, found.classes.classes, more)
    ids = {id_ for inner, outer in nested for id_ in (inner.prompt.id, outer.prompt.id)}
    voxels = {id_: _counted(id_, labels, masks) for id_ in ids}
    means = {id_: _mean(found, id_, labels) for id_ in ids}

    def count() -> dict[int, PromptResult]:
        results = found.count()
        recounted = (_recounted(results[id_], *voxels[id_], means[id_], voxel_ml, prompts) for id_ in ids)
        return results | {each.id: each for each in recounted}

    notes = tuple(_told(inner, outer) for inner, outer in nested)
    return replace(
        found,
        labels=found.orientation.back(labels),
        count=count,
        classes=masks,
        notes=(*found.notes, *notes),
    )


def _share(pair: tuple[_Kept, _Kept], classes: Mapping[int, tuple[int, ...]]) -> bool:
    """Whether both ask for the same: who has it is settled before it is run, see ``planning.classes``."""
    one, other = (each.prompt for each in pair)
    same = set(classes.get(one.id, ())) & set(classes.get(other.id, ()))
    return bool(same or set(one.targets) & set(other.targets))


def _nested(pair: tuple[_Kept, _Kept]) -> tuple[_Kept, _Kept] | None:
    """The smaller and the larger one, where one lies in the other."""
    inner, outer = sorted(pair, key=lambda each: each.voxels)
    shared = int(np.count_nonzero(inner.within(outer)[1]))
    return (inner, outer) if inner.voxels < outer.voxels and shared >= INSIDE * inner.voxels > 0 else None


def _probability(found: Segmentation, prompt_id: int) -> np.ndarray:
    """(D, H, W) float32, reversed as the network saw the volume."""
    out = np.zeros(found.orientation.axes(found.labels.shape), np.float32)
    for values, view in found.probabilities[prompt_id]:
        take_larger(out, np.asarray(values), view)
    return out


def _counted(prompt_id: int, labels: np.ndarray, masks: WholeMasks) -> tuple[int, dict[int, int]]:
    """Voxels of a prompt in the label map, and those of its mask under another id, by that id."""
    ids, voxels = np.unique(labels[masks.of(prompt_id)], return_counts=True)
    lost = {int(i): int(n) for i, n in zip(ids, voxels, strict=True) if i not in (0, prompt_id)}
    return int(np.count_nonzero(labels == prompt_id)), lost


def _mean(found: Segmentation, prompt_id: int, labels: np.ndarray) -> float | None:
    mine = labels == prompt_id
    return float(_probability(found, prompt_id)[mine].mean(dtype=np.float64)) if mine.any() else None


def _recounted(
    result: PromptResult,
    voxels: int,
    lost: Mapping[int, int],
    mean: float | None,
    voxel_ml: float,
    prompts: Sequence[Prompt],
) -> PromptResult:
    """A result with other voxels; its reason tells these, and no longer those before."""
    assert result.voxels is not None
    why = result.why.removesuffix(said_of_lost(result.lost_to, result.voxels, prompts))
    return replace(
        result,
        voxels=voxels,
        volume_ml=voxels * voxel_ml,
        mean_probability=mean,
        lost_to=lost,
        why=why + said_of_lost(lost, voxels, prompts),
    )


def _told(inner: _Kept, outer: _Kept) -> str:
    names = [f"prompt {each.prompt.id} ({each.prompt.target or each.prompt.text})" for each in (inner, outer)]
    return f"{names[0]} lies in {names[1]}: where they overlap it has its id, as the smaller one"
