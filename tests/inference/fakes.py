"""A made case, and an engine without weights that finds bright cubes: what the tests of the loop need."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt
from vesal.inference.data.results import LadderStep, PromptResult, StageReport
from vesal.inference.output.logs import log_stage
from vesal.inference.planning.manifest import MANIFEST
from vesal.inference.planning.weights_folder import WEIGHTS
from vesal.inference.runner.settings import Settings
from vesal.inference.timing.clock import Clock

SHAPE = (6, 7, 8)
SPACING_XYZ = (1.0, 2.0, 5.0)
SAFETY_S = 300.0
"""Turns a test that would wait for ever into one that fails; nothing else ends by it."""
CUBE = (slice(1, 3), slice(2, 4), slice(3, 6))
"""12 voxels of 10 cubic millimetres: 0.12 ml."""


def write_case(path: Path, level: int = 200, prompts: dict[str, object] | None = None) -> Path:
    """Write a case of `SHAPE` in challenge format with one bright cube at `CUBE`."""
    image = np.zeros(SHAPE, np.uint8)
    image[CUBE] = level
    wanted = prompts or {"1": "Liver in abdominal CT", "instance_label": 0}
    np.savez_compressed(path, imgs=image, spacing=np.array(SPACING_XYZ), text_prompts=np.array(wanted))
    return path


def run_command(*arguments: object) -> int:
    """The command in this process, as if it had just begun; its limits and its signal mask are put back."""
    from vesal.inference.runner import command

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with (
        mock.patch.object(command, "process_start_monotonic", time.monotonic),
        mock.patch.dict(os.environ),
    ):
        try:
            return command.main([str(argument) for argument in arguments])
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def write_broken_weights(folder: Path) -> Path:
    """Weights with the shipped manifest, whose files are empty: they are found, and cannot be opened."""
    folder.mkdir()
    text = (WEIGHTS / "nano" / MANIFEST).read_text(encoding="utf-8")
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    for name in json.loads(text)["files"]:
        (folder / name).touch()
    return folder


def read_output(path: Path) -> np.ndarray:
    """The label map of an output, read as the scorer reads it."""
    with np.load(path, allow_pickle=False) as archive:
        return archive["segs"]


class FakeModel:
    """Labels what is brighter than 100 with the first prompt's id; a special brightness makes it misbehave.

    Level 201 raises after the coarse result was saved, 202 runs out of memory before it, 203 reports a
    fallback, 204 gives labels of a wrong shape, 205 is sent SIGTERM and hangs until it is ``released``, 206
    does not know the target, 207 is stopped from the keyboard.
    """

    name = "cubes"
    provenance = {"paper": "none"}
    text_encoder = None

    def __init__(self) -> None:
        """Begin without a case."""
        self.budgets: list[float] = []
        self.released = threading.Event()

    def cancel(self) -> None:
        """Let go of a case that was abandoned."""
        self.released.set()

    def runtime_report(self) -> dict[str, object]:
        """What the report tells of it."""
        return {"name": "fake", "reason": "it needs none", "precision": "fp32", "threads": 1}

    def segment_case(
        self,
        case: Case,
        prompts: tuple[Prompt, ...],
        clock: Clock,
        save: Callable[[np.ndarray], None],
        watch: Callable[[object], None],
        progress: object = None,
    ) -> SimpleNamespace:
        """Find the cube in one stage."""
        self.budgets.append(clock.budget_s)
        level = int(case.image.max())
        if level == 202:
            raise MemoryError("no room for 10 GB")
        first = prompts[0]
        labels = ((case.image > 100) * first.id * (level != 206)).astype(np.uint16)
        save(labels)
        if level == 201:
            raise RuntimeError("the fine stage broke")
        if level == 205:
            signal.raise_signal(signal.SIGTERM)
            self.released.wait(SAFETY_S)  # as a network would that hears no signal
        if level == 207:
            raise KeyboardInterrupt
        stage = StageReport(
            "coarse", "coarse", (), case.spacing_dhw_mm, SHAPE, 1, 0, 0.25, 64.0, "the whole volume fits"
        )
        log_stage(stage)
        voxels = int(np.count_nonzero(labels))
        outcome = PromptResult(
            id=first.id,
            text=first.text,
            target=first.target,
            modality=first.modality,
            found_by=first.found_by,
            why="brighter than 100" if level != 206 else "the weights do not know it",
            covered=level != 206,
            voxels=voxels,
            volume_ml=voxels * float(np.prod(case.spacing_dhw_mm)) / 1000,
            mean_probability=1.0,
            stages=("coarse",),
        )
        return SimpleNamespace(
            labels=labels if level != 204 else labels[1:],
            stages=[stage],
            ladder=[LadderStep("overlap 0", "0.1 s were left", 0.5)] if level == 203 else [],
            prompts={first.id: outcome},
            fallbacks=["coarse only: 0.1 s were left"] if level == 203 else [],
            notes=(),
        )


class Opener:
    """Opens one fake engine and counts how often it is asked to."""

    def __init__(self, error: Exception | None = None) -> None:
        """With `error`, opening raises it."""
        self.count, self.error = 0, error
        self.model = FakeModel()

    def __call__(self, settings: Settings) -> FakeModel:
        """Stand in for Engine.open."""
        self.count += 1
        if self.error is not None:
            raise self.error
        return self.model
