"""Score the files of one case, in both modes, whatever is wrong with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from vesal.evaluation.errors import GroundTruthError, OfficialScriptError, PredictionError
from vesal.evaluation.files import CaseFiles, as_labels, read_prediction, read_truth
from vesal.evaluation.metrics import CaseScore, require_same_shape, score_case
from vesal.evaluation.official import UNCOUNTED, score_case_as_official
from vesal.evaluation.targets import Asked, describe
from vesal.inference.data.case import Case
from vesal.inference.data.errors import CaseError
from vesal.inference.io.formats import read_case

SCORES = ("dsc", "nsd", "f1", "dsc_tp")
"""The four scores of the challenge, as fields of `CaseScore`."""


@dataclass(frozen=True)
class CaseResult:
    """What is known about one case after scoring."""

    name: str
    instance: bool = False
    modality: str = ""
    targets: dict[int, str] = field(default_factory=dict)
    voxel_ml: float = float("nan")
    plain: CaseScore = CaseScore()
    """The right scores. A missing or unreadable prediction scores as an empty one."""

    official: CaseScore = CaseScore()
    """The official script's scores; all NaN where it records nothing."""

    reason: str = ""
    """Why the prediction or the case could not be used; empty when all is well."""

    official_reason: str = ""
    """Why the official script records nothing, and nothing of the cases after it."""

    official_note: str = ""
    """Why the official script records 0 and goes on."""

    @property
    def differs(self) -> bool:
        """Whether the two modes disagree."""
        return any(not same_score(getattr(self.plain, s), getattr(self.official, s)) for s in SCORES)


def score_files(files: CaseFiles, name_targets: Callable[[Case], Asked] = describe) -> CaseResult:
    """Score one case; a defect of its files becomes the result's `reason`, never an exception.

    A case whose volume or ground truth is unreadable has no scores: that is not the prediction's fault.
    """
    try:
        case = read_case(files.image)
        truth = read_truth(files.truth)
        asked = name_targets(case)
        _require_one_grid(case, truth)
    except CaseError as error:
        return CaseResult(files.name, reason=str(error), official_reason=str(error))
    voxel_ml = prod(case.spacing_dhw_mm) / 1000
    result = CaseResult(files.name, case.instance, asked.modality, asked.targets, voxel_ml)
    ids = list(case.sentences)
    try:
        stored = read_prediction(files.prediction)
        require_same_shape(stored, truth)
    except PredictionError as error:
        empty = score_case(np.zeros_like(truth), truth, ids, case.spacing_dhw_mm, case.instance)
        return replace(result, plain=empty, reason=str(error), official_reason=str(error))
    result = _with_plain(result, stored, truth, case)
    try:
        official = score_case_as_official(stored, truth, ids, case.spacing_dhw_mm, case.instance)
    except OfficialScriptError as error:
        return replace(result, official=UNCOUNTED, official_note=str(error))
    return replace(result, official=official)


def _with_plain(result: CaseResult, stored: np.ndarray, truth: np.ndarray, case: Case) -> CaseResult:
    """Add the right scores; an array that holds no labels scores as an empty one, with the reason."""
    reason = ""
    try:
        prediction = as_labels(stored, "'segs'")
    except PredictionError as error:
        prediction, reason = np.zeros_like(truth), str(error)
    plain = score_case(prediction, truth, list(case.sentences), case.spacing_dhw_mm, case.instance)
    return replace(result, plain=plain, reason=reason)


def _require_one_grid(case: Case, truth: np.ndarray) -> None:
    if case.image.shape != truth.shape:
        raise GroundTruthError(
            f"{case.name}: the ground truth has shape {truth.shape}, the volume {case.image.shape}; "
            "they belong to different cases or one is transposed"
        )


def same_score(first: float, second: float) -> bool:
    """Return whether two scores agree to 1e-6, NaN with NaN."""
    return bool(np.isclose(first, second, rtol=0, atol=1e-6, equal_nan=True))
