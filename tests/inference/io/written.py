"""One volume as files that other programs write, in any of the 48 ways to store its axes."""

from __future__ import annotations

import json
from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from vesal.inference.data.orientation import CANONICAL, AxisCodes, towards
from vesal.inference.io.file_axes import FileAxes

LINES = (("S", "I"), ("A", "P"), ("L", "R"))
ALL_CODES: list[AxisCodes] = [codes for lines in permutations(LINES) for codes in product(*lines)]
"""Of (D,H,W): all ways to store axes."""
SHAPE = (5, 6, 7)
SPACING = (5.0, 0.75, 0.5)
BOX = (slice(0, 2), slice(1, 4), slice(2, 6))
"""Nothing of it is symmetric: it lies at the first slices."""
PROMPTS = {"3": "Liver in abdominal CT", "instance_label": 0}


def canonical_axes(origin: tuple[float, float, float] = (10.0, -20.0, 30.0)) -> FileAxes:
    """The grid of ``SHAPE`` on the engine's axes."""
    affine = np.diag([-SPACING[2], -SPACING[1], SPACING[0], 1.0])
    affine[:3, 3] = origin
    return FileAxes(SHAPE, affine, CANONICAL)


def made_volume(dtype: str = "u1") -> np.ndarray:
    """(D,H,W) on the engine's axes, with one bright box."""
    image = np.arange(np.prod(SHAPE)).reshape(SHAPE) % 40
    image[BOX] = 200
    return image.astype(dtype)


def stored_as(codes: AxisCodes, volume: np.ndarray) -> tuple[np.ndarray, FileAxes]:
    """The volume in the order that a file with these axis codes has, and its grid there."""
    way = towards(CANONICAL, codes)
    return np.ascontiguousarray(way.turn(volume)), canonical_axes().turned(way)


def write_nifti(path: Path, volume: np.ndarray, codes: AxisCodes = CANONICAL, **header: object) -> Path:
    """With nibabel, and its prompts beside it."""
    stored, axes = stored_as(codes, volume)
    image = nibabel.Nifti1Image(stored.transpose(), axes.affine)
    for key, value in header.items():
        image.header[key] = value
    nibabel.save(image, path)
    return with_prompts(path)


def with_prompts(path: Path) -> Path:
    """The file, with prompts beside it."""
    path.with_name(path.name.split(".")[0] + ".json").write_text(json.dumps(PROMPTS))
    return path


def load(path: Path) -> Any:
    """A NIfTI as the reference library reads it."""
    return nibabel.load(path)
