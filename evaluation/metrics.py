"""Scores of one case: DSC, NSD at 2 mm, F1 at an intersection over union of 0.5, DSC over true positives.

These are the right measures; `evaluation.official` reproduces what the organizers' script makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan

import numpy as np

from vesal.evaluation.errors import PredictionError
from vesal.evaluation.matching import Overlaps, match_objects, overlaps
from vesal.evaluation.surface import surface_dice

TOLERANCE_MM = 2.0
"""Tolerance of the NSD in the challenge."""


@dataclass(frozen=True)
class ClassScore:
    """Scores of one prompted class of a semantic case."""

    dsc: float
    nsd: float
    truth_voxels: int
    prediction_voxels: int


@dataclass(frozen=True)
class CaseScore:
    """Scores of one case. NaN where it does not apply: DSC, NSD of instances; F1, DSC_TP of classes."""

    dsc: float = nan
    nsd: float = nan
    f1: float = nan
    dsc_tp: float = nan
    tp: int | None = None
    fp: int | None = None
    fn: int | None = None
    classes: dict[int, ClassScore] = field(default_factory=dict)


def dice(prediction: np.ndarray, truth: np.ndarray) -> float:
    """Return the Dice coefficient of two bool masks of one shape: 0..1, NaN when both are empty."""
    require_same_shape(prediction, truth)
    total = np.count_nonzero(prediction) + np.count_nonzero(truth)
    if total == 0:
        return nan
    return 2 * np.count_nonzero(np.logical_and(prediction, truth)) / total


def score_semantic(
    prediction: np.ndarray,
    truth: np.ndarray,
    ids: Sequence[int],
    spacing_dhw_mm: tuple[float, float, float],
    tolerance_mm: float = TOLERANCE_MM,
) -> CaseScore:
    """Score a semantic case, class by class.

    Args:
        prediction: (D,H,W) unsigned integers, voxel value = prompt id.
        truth: (D,H,W) unsigned integers, same shape.
        ids: the prompted ids; others are ignored in both maps.
        spacing_dhw_mm: voxel spacing in the order of the axes.
        tolerance_mm: see `surface_dice`.

    Returns:
        `dsc` and `nsd` are means over the classes that one of the maps has: a class that is only predicted
        scores 0, one that neither has is NaN and left out. All NaN when no class is left.
    """
    require_same_shape(prediction, truth)
    table = overlaps(truth, prediction)
    boxes = _boxes(truth), _boxes(prediction)
    classes = {}
    for class_id in ids:
        sizes = table.sizes(class_id)
        nsd = 0.0 if sizes[0] or sizes[1] else nan
        if sizes[0] and sizes[1]:
            box = _around(*(b[class_id - 1] for b in boxes))
            masks = prediction[box] == class_id, truth[box] == class_id
            nsd = surface_dice(*masks, spacing_dhw_mm, tolerance_mm)
        classes[class_id] = ClassScore(_dice_from(sizes), nsd, sizes[0], sizes[1])
    return CaseScore(
        dsc=mean_of([c.dsc for c in classes.values()]),
        nsd=mean_of([c.nsd for c in classes.values()]),
        classes=classes,
    )


def score_instances(prediction: np.ndarray, truth: np.ndarray, threshold: float = 0.5) -> CaseScore:
    """Score an instance case: every id of the (D,H,W) maps is one object, exactly as the file has it.

    F1 and DSC_TP are NaN when both maps are empty. An empty prediction misses every object and scores 0;
    against an empty ground truth, F1 is 0 and DSC_TP NaN.
    """
    require_same_shape(prediction, truth)
    return instance_score(overlaps(truth, prediction), threshold)


def instance_score(table: Overlaps, threshold: float = 0.5) -> CaseScore:
    """Return the scores of an instance case from the overlaps of its maps."""
    matching = match_objects(table, threshold)
    nothing = matching.tp + matching.fp + matching.fn == 0
    return CaseScore(
        f1=nan if nothing else matching.f1,
        dsc_tp=matching.dsc_tp,
        tp=matching.tp,
        fp=matching.fp,
        fn=matching.fn,
    )


def score_case(
    prediction: np.ndarray,
    truth: np.ndarray,
    ids: Sequence[int],
    spacing_dhw_mm: tuple[float, float, float],
    instance: bool,
) -> CaseScore:
    """Score a case of either kind.

    Args:
        prediction: (D,H,W) label map.
        truth: (D,H,W) label map.
        ids: of the prompts.
        spacing_dhw_mm: of a voxel.
        instance: values are objects, not prompts.
    """
    if instance:
        return score_instances(prediction, truth)
    return score_semantic(prediction, truth, ids, spacing_dhw_mm)


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN; NaN when none is left."""
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else nan


def require_same_shape(prediction: np.ndarray, truth: np.ndarray) -> None:
    """Raise `PredictionError` unless both arrays have one shape."""
    if prediction.shape != truth.shape:
        raise PredictionError(
            f"the prediction has shape {prediction.shape}, the ground truth {truth.shape}; "
            "write the prediction on the grid of the input volume"
        )


def _dice_from(sizes: tuple[int, int, int]) -> float:
    true, predicted, shared = sizes
    return 2 * shared / (true + predicted) if true + predicted else nan


def _boxes(labels: np.ndarray) -> list:
    """Return the bounding box of label i + 1 at position i (scipy's order), None for absent ones."""
    from scipy.ndimage import find_objects

    return find_objects(labels)


def _around(first: tuple[slice, ...], second: tuple[slice, ...]) -> tuple[slice, ...]:
    """Return the smallest box that holds two boxes."""
    pairs = zip(first, second, strict=True)
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in pairs)
