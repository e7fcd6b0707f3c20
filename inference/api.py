"""Vesal from Python: `load` a set of weights, `Model.segment` a volume."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vesal import __version__
from vesal.inference.data.case import Case
from vesal.inference.data.errors import (
    EmptyVolumeError,
    IntensityError,
    SpacingError,
    UsageError,
    VolumeShapeError,
)
from vesal.inference.data.prompt import ModalityChoice, Prompt
from vesal.inference.engine import Engine, Watch
from vesal.inference.geometry.views import Triple, triple
from vesal.inference.io.intensity import to_uint8
from vesal.inference.io.prompt_files import INSTANCE_KEY, parse_prompts_dict
from vesal.inference.output.report import to_json
from vesal.inference.planning.profile import Profile
from vesal.inference.prompts.modality import modality_of
from vesal.inference.prompts.parser import parse_case
from vesal.inference.result import PromptResults, Result
from vesal.inference.runtime.blas import one_blas_thread
from vesal.inference.runtime.choice import Runtime
from vesal.inference.runtime.threads import thread_limit
from vesal.inference.stages.case_run import Save, Segmentation
from vesal.inference.timing.clock import Clock
from vesal.inference.timing.progress import ProgressCallback

if TYPE_CHECKING:
    from vesal.inference.prompts.sentence_encoder import SentenceEncoder

NAME = "image"
"""Name of a volume without a file, in messages."""
NO_LIMIT = float("inf")


def load(
    weights: str = "nano",
    *,
    threads: int | None = None,
    runtime: str = "auto",
    mask_stage: str | None = None,
) -> Model:
    """Load a set of weights; it serves any number of volumes, also from several threads.

    Args:
        weights: name of a folder in Vesal's weights, or path of a folder with a manifest.json.
        threads: upper limit of CPU threads; None: all that affinity and container allow.
        runtime: `auto`, `openvino`, `onnxruntime` or `cuda`.
        mask_stage: stage that takes a mask of the user as spatial prompt: `coarse`, `fine` or `off`; None: as
            the weights say.

    Raises:
        UsageError: ``threads`` is below 1.
        ProfileError: there are no such weights, or they cannot be read.
        RuntimeChoiceError: the runtime is not installed, or does not start.
    """
    if threads is not None and threads < 1:
        raise UsageError(f"threads is {threads}; give 1 or more, or None.")
    return Model(Engine.open(weights, runtime, threads, mask_stage), threads)


class Model:
    """Loaded weights. The state of a volume lives in its call, so threads may share a model."""

    def __init__(self, engine: Engine, threads: int | None = None) -> None:
        """`load` makes one; ``threads`` is the upper limit for work beside the network."""
        self.engine = engine
        self.threads = threads

    @property
    def name(self) -> str:
        """Name of the weights."""
        return self.profile.name

    @property
    def profile(self) -> Profile:
        """How the weights are run, and what they were trained on."""
        return self.engine.profile

    @property
    def runtime(self) -> Runtime:
        """What runs the networks."""
        return self.engine.runtime

    def with_profile(self, **fields: Any) -> Model:
        """The same network with other fields of its profile."""
        engine = copy.copy(self.engine)
        engine.profile = replace(engine.profile, **fields)
        return Model(engine, self.threads)

    @property
    def text_encoder(self) -> SentenceEncoder:
        """The sentence encoder, loaded when a sentence needs it."""
        return self.engine.text_encoder

    def segment(
        self,
        image: Any,
        spacing_mm: Sequence[float],
        prompts: str | Sequence[str] | Mapping[Any, Any],
        *,
        modality: str | None = None,
        instances: bool = False,
        seconds: float | None = None,
        progress: ProgressCallback | None = None,
    ) -> Result:
        """Segment one volume.

        Args:
            image: (D, H, W), numpy or array-like, any real dtype and memory order. Anything but uint8 is
                rescaled to 0..255 between the 0.5 and 99.5 percentiles of its nonzero voxels.
            spacing_mm: voxel size in mm, ordered like the array: (D, H, W).
            prompts: sentences, of which the i-th has the value i + 1 in the label map, or a dict of id ->
                sentence, which keeps its ids; one sentence alone will do. A dict may hold `instance_label`.
            modality: CT, MR, US, PET or Microscopy; None: as the sentences say, else by the intensities.
            instances: give every object its own value 1..n instead of its prompt's id.
            seconds: time limit for this volume; the report lists what is dropped to meet it. None: no limit.
            progress: called after every window with a `WindowProgress`; returning False cancels.

        Raises:
            CaseError: image, spacing, prompts or modality cannot be used; the message says what is wanted.
            CancelledError: ``progress`` returned False.
        """
        given = prompts if isinstance(prompts, Mapping) else _numbered(prompts)
        case = make_case(image, spacing_mm, given, instances)
        understood, choice = self.understand(case, modality)
        if seconds is not None and not seconds > 0:
            raise UsageError(f"seconds is {seconds}; give a number above 0, or None.")
        started = time.monotonic()
        clock = Clock(NO_LIMIT if seconds is None else float(seconds), started)
        segmentation = self.segment_case(case, understood, clock, progress=progress, keep_probabilities=True)
        by_id = isinstance(prompts, Mapping)
        keys = list(case.sentences) if by_id else list(range(len(understood)))
        results = PromptResults([segmentation.prompts[p.id] for p in understood], keys)
        report = self._report(case, choice, segmentation, time.monotonic() - started)
        return Result(segmentation.labels, results, report, segmentation)

    def understand(
        self, case: Case, modality: str | None = None
    ) -> tuple[tuple[Prompt, ...], ModalityChoice]:
        """Parse a case's sentences into prompts, and find its modality.

        Args:
            case: the volume with its sentences.
            modality: of the volume, where it is known; None: as the sentences say, see `prompts.parser`.

        Raises:
            ModalityError: there is no such modality.
        """
        named = None if modality is None else modality_of(modality)
        return parse_case(case, lambda: self.text_encoder, named)

    def segment_case(
        self,
        case: Case,
        prompts: Sequence[Prompt],
        clock: Clock | None = None,
        save: Save | None = None,
        *,
        watch: Watch | None = None,
        progress: ProgressCallback | None = None,
        keep_probabilities: bool = False,
    ) -> Segmentation:
        """Segment a case whose sentences are understood: what the command, measurements and `segment` call.

        Args:
            case: the volume.
            prompts: see ``understand``; at least one.
            clock: the case's; None: no time limit.
            save: called with the coarse label map (D, H, W) as soon as there is one.
            watch: called with the case's progress object, see ``Engine.segment``.
            progress: called after every window.
            keep_probabilities: of the last stage.
        """
        with self.working():
            return self.engine.segment(
                case,
                prompts,
                clock or Clock(NO_LIMIT, time.monotonic()),
                save or (lambda labels: None),
                watch=watch,
                progress=progress,
                keep_probabilities=keep_probabilities,
            )

    @contextmanager
    def working(self) -> Iterator[None]:
        """Limit threads while this model works: its own to the given limit, BLAS to one.

        Arrays are split over our own threads, and each of them calls BLAS: with several BLAS threads a
        script took 1.7 times as long as the command.
        """
        with thread_limit(self.threads), one_blas_thread():
            yield

    def runtime_report(self) -> dict[str, Any]:
        """The runtime and the reason for it, for reports."""
        runtime = self.runtime
        return {
            "name": runtime.name,
            "reason": runtime.reason,
            "precision": runtime.precision,
            "threads": runtime.threads,
        }

    def _report(
        self, case: Case, choice: ModalityChoice, segmentation: Segmentation, seconds: float
    ) -> dict[str, Any]:
        return to_json(
            {
                "version": __version__,
                "weights": self.name,
                "runtime": self.runtime_report(),
                "shape": case.image.shape,
                "spacing_dhw_mm": case.spacing_dhw_mm,
                "instance": case.instance,
                "modality": choice.modality,
                "modality_source": choice.source,
                "modality_why": choice.why,
                "notes": case.notes,
                "prompts": tuple(segmentation.prompts.values()),
                "stages": segmentation.stages,
                "ladder": segmentation.ladder,
                "fallbacks": segmentation.fallbacks,
                "seconds": seconds,
            }
        )


def make_case(image: Any, spacing_mm: Sequence[float], prompts: Mapping[Any, Any], instances: bool) -> Case:
    """A checked case of a volume in memory, see `Model.segment`. Raises CaseError."""
    volume = np.asarray(image)
    _check_volume(volume)
    wanted = dict(prompts)
    if instances or INSTANCE_KEY not in wanted:
        wanted[INSTANCE_KEY] = int(instances)
    checked = parse_prompts_dict(wanted, "prompts")
    spacing = _checked_spacing(spacing_mm)
    grey, note = to_uint8(NAME, volume)
    notes = (*((note,) if note else ()), *checked.notes)
    return Case(NAME, np.ascontiguousarray(grey), spacing, checked.sentences, checked.instance, None, notes)


def _numbered(prompts: str | Sequence[str]) -> dict[int, str]:
    """A list of sentences as a dict of ids from 1 on."""
    return dict(enumerate([prompts] if isinstance(prompts, str) else prompts, 1))


def _check_volume(volume: np.ndarray) -> None:
    """Raise a CaseError unless it is a volume (D, H, W) of real numbers."""
    if volume.dtype.kind not in "buif":
        raise IntensityError(f"image has dtype {volume.dtype}; real numbers are wanted, best uint8.")
    if volume.ndim != 3:
        raise VolumeShapeError(
            f"image has {volume.ndim} axes, shape {volume.shape}; three, (D, H, W), are wanted. Give one "
            "grey volume, without channel or time axis."
        )
    if volume.size == 0:
        raise EmptyVolumeError(f"image has shape {volume.shape}, so no voxel; 1 or more are wanted.")


def _checked_spacing(spacing_mm: Sequence[float]) -> Triple:
    wanted = "three positive lengths in mm, ordered like the array (D, H, W), are wanted."
    try:
        d, h, w = triple(float(length) for length in spacing_mm)
    except (TypeError, ValueError):
        raise SpacingError(f"spacing_mm is {spacing_mm!r}; {wanted}") from None
    if not all(0 < length < float("inf") for length in (d, h, w)):
        raise SpacingError(f"spacing_mm is ({d:g}, {h:g}, {w:g}); {wanted}")
    return d, h, w
