"""The files of an evaluation: which cases there are, and their label maps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vesal.evaluation.errors import EvaluationError, GroundTruthError, PredictionError
from vesal.inference.data.errors import CaseError, UsageError
from vesal.inference.io.formats import case_name
from vesal.inference.io.npz_archive import NpzArchive
from vesal.inference.runner.case_paths import list_cases

PREDICTION_KEY = "segs"
TRUTH_KEY = "gts"

# An 8-bit label map of the largest volumes of the challenge is 0.5 GB; 64-bit ones are eight times that.
MAX_MAP_BYTES = 8 << 30

# Tables go up to the largest label. No map of objects comes near this, a damaged or shifted one soon does.
LARGEST_LABEL = 1 << 24


@dataclass(frozen=True)
class CaseFiles:
    """The three files of one case; whether the last two exist is found out when they are read."""

    name: str
    image: Path
    prediction: Path
    truth: Path


def find_cases(images: Path, predictions: Path, truths: Path) -> list[CaseFiles]:
    """Return the cases of a folder of images, sorted by name as the official script takes them.

    Each of the three is a folder of NAME.npz files; `images` may be a single file. A case is what the
    engine takes for one: no hidden file, no NAME.prompt.npz.

    Raises:
        EvaluationError: one of them is not there, or there is no case.
    """
    for what, path in (("images", images), ("predictions", predictions), ("ground truth", truths)):
        if not path.exists():
            raise EvaluationError(f"no folder of {what} at {path}; give the one that holds NAME.npz")
    return [CaseFiles(case_name(p), p, _beside(predictions, p), _beside(truths, p)) for p in cases_in(images)]


def cases_in(images: Path) -> list[Path]:
    """Return the cases of a folder, or the one file, as the engine finds them; raises `EvaluationError`."""
    try:
        return list_cases(images)
    except UsageError as error:
        raise EvaluationError(str(error)) from error


def read_prediction(path: Path) -> np.ndarray:
    """Return the array `segs` of a prediction as it is stored; `as_labels` checks what it holds.

    Raises:
        PredictionError: the file is missing, unreadable or without that array, or this holds no real numbers.
    """
    if not path.is_file():
        raise PredictionError(f"no prediction {path.name} in {path.parent}; every case needs one")
    try:
        with NpzArchive(path) as archive:
            array = archive.read_array(PREDICTION_KEY, MAX_MAP_BYTES)
    except CaseError as error:
        raise PredictionError(f"prediction {error}") from error
    _require_numbers(array, f"'{PREDICTION_KEY}'")
    return array


def read_truth(path: Path) -> np.ndarray:
    """Return the (D,H,W) label map `gts` of a ground truth; raises `GroundTruthError`."""
    if not path.is_file():
        raise GroundTruthError(f"no ground truth {path.name} in {path.parent}; the case cannot be scored")
    try:
        with NpzArchive(path) as archive:
            array = archive.read_array(TRUTH_KEY, MAX_MAP_BYTES)
        return as_labels(array, f"{path.name}: '{TRUTH_KEY}'")
    except CaseError as error:
        raise GroundTruthError(f"ground truth {error}") from error


def as_labels(array: np.ndarray, what: str) -> np.ndarray:
    """Return a (D,H,W) array as unsigned integers; raise `PredictionError` where it cannot be a label map.

    `what` names the array in the message. Floats pass when they are whole numbers.
    """
    if array.ndim != 3:
        raise PredictionError(f"{what} has shape {array.shape}; wanted the three axes (D,H,W) of the input")
    _require_numbers(array, what)
    if array.size == 0:
        return array.astype(np.uint8)
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= LARGEST_LABEL):
        raise PredictionError(f"{what} has values from {low} to {high}; wanted labels 0..{LARGEST_LABEL}")
    if array.dtype.kind == "f" and not np.array_equal(array, np.floor(array)):
        raise PredictionError(f"{what} has values between whole numbers; wanted labels, not probabilities")
    return array.astype(np.min_scalar_type(int(high)), copy=False)


def _require_numbers(array: np.ndarray, what: str) -> None:
    if array.dtype.kind not in "buif":
        raise PredictionError(f"{what} is of type {array.dtype}; wanted unsigned integers")


def _beside(folder: Path, image: Path) -> Path:
    return folder if folder.is_file() else folder / image.name
