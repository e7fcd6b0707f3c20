"""Own scans for tests of `-i`, and a network that finds bright boxes of which one lies in the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from tests.inference.fakes import FakeModel, Opener
from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt
from vesal.inference.data.results import PromptResult, StageReport
from vesal.inference.stages.classes import ClassMasks
from vesal.inference.stages.segmentation import Segmentation

SHAPE = (6, 8, 10)
OUTER = (slice(1, 5), slice(2, 7), slice(3, 9))
INNER = (slice(2, 3), slice(3, 5), slice(4, 6))
AFFINE = np.array([[-0.5, 0, 0, 10], [0, 0.75, 0, -20], [0, 0, 4.0, 30], [0, 0, 0, 1.0]])
"""RAS mm of a file whose rows run from back to front."""


def volume() -> np.ndarray:
    """(D,H,W) as stored: the outer box 150, the inner one 220."""
    image = np.zeros(SHAPE, np.uint8)
    image[OUTER], image[INNER] = 150, 220
    return image


def write_scan(path: Path, image: np.ndarray | None = None) -> Path:
    """A scan in NIfTI, with nothing beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = volume() if image is None else image
    nibabel.save(nibabel.Nifti1Image(stored.transpose(), AFFINE), path)
    return path


def nifti(path: Path) -> Any:
    """As nibabel reads it."""
    return nibabel.load(path)


class BoxModel(FakeModel):
    """Prompt 1 is what is brighter than 200, every other one what is brighter than 100, prompt 1 too.

    A volume of which the largest value is 149 makes it fail, 148 stops the run from the keyboard.
    """

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[bool] = []
        self.asked: list[tuple[str, ...]] = []
        self.modalities: list[set[str]] = []

    def segment_case(self, case: Case, prompts: tuple[Prompt, ...], *_: Any, **more: Any) -> Any:
        """Both boxes."""
        self.kept.append(bool(more.get("keep_probabilities")))
        self.asked.append(tuple(prompt.text for prompt in prompts))
        self.modalities.append({prompt.modality for prompt in prompts})
        largest = case.image.max()
        if largest == 149:
            raise RuntimeError("the network broke")
        if largest == 148:
            raise KeyboardInterrupt
        first, *others = (prompt.id for prompt in prompts)
        labels = np.zeros(case.image.shape, np.uint8)
        labels[case.image > 100] = others[0] if others else first
        labels[case.image > 200] = first
        classes = {first: (first,)} | {id_: (first, others[0]) for id_ in others}
        stage = StageReport("coarse", "coarse", (), (1.0, 1.0, 1.0), SHAPE, 3, 0, 0.1, 9.0, "it fits")
        return Segmentation(
            labels,
            lambda: {prompt.id: _result(prompt, labels) for prompt in prompts},
            [stage],
            [],
            [],
            classes=ClassMasks(labels, classes),
        )


class BoxOpener(Opener):
    """Opens it."""

    def __init__(self) -> None:
        super().__init__()
        self.model: BoxModel = BoxModel()


def _result(prompt: Prompt, labels: np.ndarray) -> PromptResult:
    voxels = int((labels == prompt.id).sum())
    known = (prompt.id, prompt.text, prompt.target, prompt.modality, prompt.found_by)
    return PromptResult(*known, "brighter", True, voxels, voxels / 1000, 0.9)
