"""What the organizers' script says, its quirks included (CVPR25_text_eval.py).

The script differs from a plain reading of the metrics in these points, which its users should know:

- Both maps are cast to uint8: id 300 becomes 44, id 256 background.
- `spacing` is (x,y,z) in the file and handed as it is to (D,H,W) arrays: the NSD is measured on swapped axes.
- Only labels of the ground truth count; a class that is only predicted costs nothing. The smallest label is
  skipped as background even when the ground truth has no background.
- An instance prediction with exactly two values, 0 included, is taken for a binary mask: it is split into
  6-connected objects, numbered on from its maximum (again in uint8).
- An empty instance prediction has no false negatives (F1 is 0 all the same).
- 255 objects in either map are more than its functions can count in uint8. With numpy 1.26.3, which its
  requirements pin (under numpy 2 the script does not start), the case scores F1 0 and the run goes on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vesal.evaluation.errors import OfficialScriptError
from vesal.evaluation.matching import overlaps, present_ids
from vesal.evaluation.metrics import (
    TOLERANCE_MM,
    CaseScore,
    instance_score,
    mean_of,
    require_same_shape,
    score_semantic,
)

MOST_OBJECTS = 254

UNCOUNTED = CaseScore(f1=0.0, dsc_tp=0.0, tp=0, fp=0, fn=0)
"""What the script records of a case whose objects it cannot count."""


def score_case_as_official(
    prediction: np.ndarray,
    truth: np.ndarray,
    ids: Sequence[int],
    spacing_dhw_mm: tuple[float, float, float],
    instance: bool,
) -> CaseScore:
    """Score a case as the official script does; the arguments are those of `metrics.score_case`, both maps
    (D,H,W).

    Raises:
        OfficialScriptError: its functions cannot count the objects; the script then records `UNCOUNTED`.
    """
    require_same_shape(prediction, truth)
    with np.errstate(invalid="ignore"):  # floats are truncated without a word, as there
        prediction, truth = prediction.astype(np.uint8), truth.astype(np.uint8)
    if instance:
        return _instances(prediction, truth)
    return _semantic(prediction, truth, ids, spacing_dhw_mm)


def _semantic(
    prediction: np.ndarray, truth: np.ndarray, ids: Sequence[int], spacing_dhw_mm: tuple[float, float, float]
) -> CaseScore:
    swapped = spacing_dhw_mm[2], spacing_dhw_mm[1], spacing_dhw_mm[0]
    counted = set(np.unique(truth)[1:].tolist())
    score = score_semantic(prediction, truth, [i for i in ids if i in counted], swapped, TOLERANCE_MM)
    return CaseScore(
        dsc=mean_of([c.dsc for c in score.classes.values()]),
        nsd=mean_of([c.nsd for c in score.classes.values()]),
        classes=score.classes,
    )


def _instances(prediction: np.ndarray, truth: np.ndarray) -> CaseScore:
    if len(np.unique(prediction)) == 2:
        prediction = _split(prediction)
    objects = len(present_ids(truth)) - 1, len(present_ids(prediction)) - 1
    if objects[1] == 0:
        return CaseScore(f1=0.0, dsc_tp=0.0, tp=0, fp=0, fn=0)
    if max(objects) > MOST_OBJECTS:
        raise OfficialScriptError(
            f"{objects[0]} objects in the ground truth, {objects[1]} in the prediction: above "
            f"{MOST_OBJECTS} the official script overflows uint8 and records F1 0"
        )
    score = instance_score(overlaps(truth, prediction))
    return score if score.tp else CaseScore(f1=0.0, dsc_tp=0.0, tp=0, fp=score.fp, fn=score.fn)


def _split(binary: np.ndarray) -> np.ndarray:
    """Return the 6-connected objects of a map of two values, numbered on from its maximum, in uint8."""
    import cc3d

    components = cc3d.connected_components(binary, connectivity=6).astype(np.int64)
    numbered = np.where(components > 0, components + int(binary.max()), binary)
    return numbered.astype(np.uint8)
