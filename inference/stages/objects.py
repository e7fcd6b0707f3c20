"""Classes of a label map become objects, each with an id of its own; the rules are in postprocess."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vesal.inference.planning.plan import AppliedRule
from vesal.inference.stages.label_map import LabelMap
from vesal.inference.stages.native_views import OnView, planes_of
from vesal.postprocess.instances import Instances
from vesal.postprocess.rule import ClassPart, Cut, CutRule, MapRule, SpacingMm

ONE_AROUND = (1, 1, 1)
"""Voxels around a class that a rule sees: what reaches the border of its part reaches that of the volume."""


def cut_into_objects(
    result: LabelMap,
    rules: Sequence[AppliedRule],
    spacing_dhw_mm: SpacingMm,
    affords: Callable[[float], bool],
    edges: Mapping[int, Sequence[OnView]] | None = None,
) -> tuple[np.ndarray, int]:
    """One id per object; those that touch are separated in the classes whose targets a rule names.

    Args:
        result: classes and their boxes.
        rules: of the plan; of several that cut a class the last one counts.
        spacing_dhw_mm: of the volume.
        affords: whether so many seconds may still be taken.
        edges: class -> the edges of its objects, of each view that it was run on.

    Returns:
        (D, H, W) unsigned; and how many components were left as they are for want of time.
    """
    used = {id_: a.rule for a in rules if isinstance(a.rule, CutRule) for id_ in sorted(a.ids)}
    boxes = {id_: box for id_ in used if (box := result.box(id_, ONE_AROUND)) is not None}
    if not boxes:
        return split_into_objects(result.labels, rules), 0
    others = not result.boxes.keys() <= boxes.keys() or not result.boxes
    values = result.labels.astype(np.uint32) if others else np.zeros(result.labels.shape, np.uint32)
    last, cuts = int(values.max(initial=0)), []
    for id_, at in boxes.items():
        told = planes_of(views, at) if edges and (views := edges.get(id_)) else None
        part = ClassPart(result.labels[at], result.probability[at], id_, spacing_dhw_mm, told)
        cut: Cut = used[id_].cut(part, affords)
        cut.pieces[cut.pieces > 0] += np.uint32(last)
        np.copyto(values[at], cut.pieces, where=part.labels == id_)
        last += len(cut.sizes)
        cuts.append(cut)
    left_whole = sum(cut.left_whole for cut in cuts)
    if others:
        return split_into_objects(values, rules), left_whole
    return _maker(rules).number(values, np.concatenate([cut.sizes for cut in cuts])), left_whole


def split_into_objects(labels: np.ndarray, rules: Sequence[AppliedRule]) -> np.ndarray:
    """(D, H, W) classes, or pieces of them -> one id per object."""
    return _maker(rules).split(labels)


def _maker(rules: Sequence[AppliedRule]) -> MapRule:
    """The last rule that makes objects."""
    makers = [applied.rule for applied in rules if isinstance(applied.rule, MapRule)]
    return makers[-1] if makers else Instances()
