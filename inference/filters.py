"""Step 7 of a case: what the profile's rules remove from the result; the rules themselves live in
postprocess.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from inference.labelmap import LabelMap
from inference.parallel import in_parallel
from inference.plan import Query
from inference.profile import FilterRule
from inference.stages import Pass


def filter_pass(result: Pass, queries: Sequence[Query], rule: FilterRule) -> Pass:
    """Empty slices without presence, and let the two sides of one concept compete slice by slice.

    Slices run along the view's thick axis. The given result is not touched; it is returned where nothing is
    to be removed.
    """
    axis = 1 + result.view.thick_axis
    before = probability = np.moveaxis(np.asarray(result.probability), axis, 1)
    if rule.presence > 0:
        from postprocess.slices import apply_presence

        probability = apply_presence(probability, result.presence, rule.presence)
    if rule.compete > 0:
        probability = _compete(probability, result.presence, queries, rule.compete)
    if probability is before:
        return result
    return replace(result, probability=np.moveaxis(probability, 1, axis))


def _compete(
    probability: np.ndarray, presence: np.ndarray, queries: Sequence[Query], overlap: float
) -> np.ndarray:
    """Slice-level NMS (BiomedParse-V) among the sides of each concept."""
    sides: dict[str, list[int]] = {}
    for row, query in enumerate(queries):
        if query.side is not None:
            sides.setdefault(query.concept, []).append(row)
    rivals = [rows for rows in sides.values() if len(rows) > 1]
    if not rivals:
        return probability
    from postprocess.slices import slice_nms

    out = probability.copy()
    for rows in rivals:
        keep = slice_nms(probability[rows], presence[rows], overlap)
        out[rows] *= keep[:, :, None, None]
    return out


def filter_components(result: LabelMap, queries: Sequence[Query], rule: FilterRule) -> None:
    """Choose the components of the classes whose kind asks for it (Medal S algorithm 3), in place.

    Each class is looked at inside its own box. A prompt that was run as two sides is left alone: its two
    parts are no rivals.
    """
    asked = Counter(q.prompt_id for q in queries)
    ids = sorted({q.prompt_id for q in queries if q.kind in rule.component_kinds and asked[q.prompt_id] == 1})
    found = [id_ for id_ in ids if id_ in result.boxes]
    if not found:
        return
    from postprocess.components import filter_class

    def choose(id_: int) -> None:
        box = result.boxes[id_]
        filter_class(result.labels[box], result.probability[box], id_)

    in_parallel(choose, found)


def split_into_objects(labels: np.ndarray, min_voxels: int) -> np.ndarray:
    """(D, H, W) any labels -> uint8 with one id per 6-connected object, largest first, at most 255."""
    from postprocess.instances import split_instances

    return split_instances(labels, min_voxels)
