"""Vesal from Python: `load` a set of weights, `Model.segment` a volume."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import to_builtins

from vesal import __version__
from vesal.inference.call_arguments import (
    NO_LIMIT,
    check_mask_stage,
    check_progress,
    checked_prompts,
    choice_of,
    goes_by_id,
    make_case,
    named_modality,
    thread_count,
    time_limit,
    weights_name,
)
from vesal.inference.data.case import Case
from vesal.inference.data.prompt import ModalityChoice, Prompt
from vesal.inference.data.terms import RUNTIMES
from vesal.inference.engine import Engine, Watch
from vesal.inference.families.contract import Capabilities
from vesal.inference.io.file_axes import FileAxes
from vesal.inference.io.formats import open_case, unused_choices
from vesal.inference.io.read_options import ReadOptions
from vesal.inference.output.report import to_json
from vesal.inference.planning.profile import Profile
from vesal.inference.prompts.case_meaning import settle
from vesal.inference.prompts.parser import parse_case
from vesal.inference.prompts.text_bank import text_embeddings as read_embeddings
from vesal.inference.result import PromptResults, Result
from vesal.inference.runtime.blas import one_blas_thread
from vesal.inference.runtime.choice import Runtime
from vesal.inference.runtime.threads import thread_limit
from vesal.inference.stages.segmentation import Save, Segmentation
from vesal.inference.timing.clock import Clock
from vesal.inference.timing.progress import ProgressCallback

if TYPE_CHECKING:
    from vesal.inference.prompts.sentence_encoder import SentenceEncoder


def load(
    weights: str | PathLike[str] = "nano",
    *,
    threads: int | None = None,
    runtime: str = "auto",
    mask_stage: str | None = None,
    text_embeddings: str | PathLike[str] | Mapping[str, Any] | None = None,
) -> Model:
    """Load a set of weights; it serves any number of volumes, also from several threads.

    Args:
        weights: name of a folder in Vesal's weights, or path of a folder with a manifest.json.
        threads: upper limit of CPU threads; None: all that affinity and container allow.
        runtime: `auto`, `openvino`, `onnxruntime` or `cuda`.
        mask_stage: stage that takes a user's mask as spatial prompt: `coarse`, `fine` or `off`; None: as the
            weights say.
        text_embeddings: text vectors made elsewhere, for weights that look sentences up (VoxTell): path of an
            npz with `labels` (N,) and `embeddings` (N, T), or a dict of label -> (T,) numbers. They go before
            the weights' own.

    Raises:
        UsageError: an argument cannot be used; TextEmbeddingsError: the text embeddings cannot.
        ProfileError: there are no such weights, or they cannot be read.
        RuntimeChoiceError: the runtime is not installed, or does not start.
    """
    limit = thread_count(threads)
    choice_of("runtime", runtime, RUNTIMES)
    check_mask_stage(mask_stage)
    own = None if text_embeddings is None else read_embeddings(text_embeddings)
    return Model(Engine.open(weights_name(weights), runtime, limit, mask_stage, own), limit)


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
    def provenance(self) -> dict[str, Any]:
        """Where the weights come from, for reports; see ``planning.manifest.Provenance``."""
        told: dict[str, Any] = to_builtins(self.profile.provenance)
        return told

    @property
    def capabilities(self) -> Capabilities:
        """What the weights can do: open vocabulary, masks, boxes, points, presence, edges."""
        return self.engine.model.capabilities

    @property
    def runtime(self) -> Runtime:
        """What runs the networks."""
        return self.engine.runtime

    def cancel(self) -> None:
        """Stop what this model computes in other threads, at once or at the next window; then it is of no
        more use.
        """
        self.runtime.cancel()

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
        prompts: str | Sequence[str | None] | Mapping[Any, Any] | None = None,
        *,
        modality: str | None = None,
        instances: bool | None = None,
        seconds: float | None = None,
        progress: ProgressCallback | None = None,
        mask: Any = None,
        boxes: Mapping[Any, Any] | Sequence[Any] | None = None,
        points: Mapping[Any, Any] | Sequence[Any] | None = None,
    ) -> Result:
        """Segment one volume.

        Args:
            image: (D, H, W), numpy or array-like, any real dtype and memory order. Hounsfield units are shown
                in the challenge's window; anything else but uint8 is rescaled to 0..255 between the 0.5 and
                99.5 percentiles of its nonzero voxels.
            spacing_mm: voxel size in mm, ordered like the array: (D, H, W).
            prompts: sentences, of which the i-th has the value i + 1 in the label map, or a dict of id ->
                sentence, which keeps its ids; one sentence alone will do. A dict may hold `instance_label`.
                None or an empty list: the ids of mask, boxes and points are classes without a name; so is a
                prompt whose sentence is None and that is marked. Whether they are run depends on the weights.
            modality: CT, MR, US, PET or Microscopy; None: as the sentences say, else by the intensities.
            instances: give every object its own value 1..n instead of its prompt's id; None: as
                `instance_label` in a dict says, else not.
            seconds: time limit for this call; the report lists what is dropped to meet it. None: no limit.
            progress: called after every window with a `WindowProgress`; returning False cancels.
            mask: (D, H, W) whole numbers on the volume's grid: each voxel the id of its prompt, as in the
                label map, 0 elsewhere; with a single prompt True and False will do.
            boxes: a dict of prompt id, as in the label map -> list of (d0, h0, w0, d1, h1, w1) in voxels, the
                last three exclusive; with a single prompt the list alone will do, and without any the i-th
                box is that of class i + 1.
            points: likewise, lists of (d, h, w) or (d, h, w, label), label 1 for inside of the target (as
                without one), 0 for outside.

        Boxes and points that do not fit the volume (outside, inverted, empty, NaN, of axes in another order)
        or have no prompt are left out, and the others are run; so are masks, boxes and points that the
        weights cannot use. The report's `fallbacks` and `notes` say so.

        Raises:
            UsageError: ``seconds`` or ``progress`` cannot be used.
            CaseError: image, spacing, prompts, modality or mask cannot be used, or boxes or points are none;
                the message says what is wanted.
            CancelledError: ``progress`` returned False.
        """
        started = time.monotonic()
        clock = Clock(time_limit(seconds), started)
        check_progress(progress)
        given: dict[str, Any] = {"mask": mask, "boxes": boxes, "points": points}
        unused: list[str] = []
        case = make_case(image, spacing_mm, prompts, instances, fallbacks=unused, **given)
        understood, choice = self.understand(case, modality)
        case = settle(case, understood, choice, self.capabilities.stored_numbers)
        segmentation = self.segment_case(case, understood, clock, progress=progress, keep_probabilities=True)
        by_id = goes_by_id(prompts)
        segmentation = replace(segmentation, fallbacks=[*unused, *segmentation.fallbacks])
        results = PromptResults([segmentation.prompts[p.id] for p in understood], by_id)
        report = self._report(case, choice, segmentation, time.monotonic() - started)
        return Result(segmentation.labels, results, report, segmentation, case)

    def segment_file(
        self,
        path: str | PathLike[str],
        prompts: str | Sequence[str] | Mapping[Any, Any] | None = None,
        *,
        modality: str | None = None,
        instances: bool | None = None,
        seconds: float | None = None,
        progress: ProgressCallback | None = None,
        series: str | None = None,
        level: int | None = None,
        volume: int | None = None,
    ) -> Result:
        """Segment the volume in a file: NIfTI, NRRD, MetaImage, DICOM, TIFF, Zarr or a challenge npz.

        A mask, boxes and points in it or beside it (NAME.prompt.json) are used as by the command.

        Args:
            path: a file, or the folder of a DICOM series or an OME-Zarr.
            prompts: as in ``segment``; None: as the file or NAME.json beside it says.
            modality: as in ``segment``.
            instances: as in ``segment``.
            seconds: as in ``segment``.
            progress: as in ``segment``.
            series: SeriesInstanceUID of a DICOM series; None: the largest.
            level: resolution level of an OME-Zarr.
            volume: number of the volume, from 0 on, of a file with several.

        Returns:
            arrays (D, H, W) as the file stores its voxels (k, j, i); ``Result.save`` writes its geometry.

        Raises:
            CaseError: the file cannot be read, and what ``segment`` raises.
        """
        started = time.monotonic()
        clock = Clock(time_limit(seconds), started)
        check_progress(progress)
        asked = None if prompts is None else checked_prompts(prompts, instances)
        options = ReadOptions(series, level, volume)
        with open_case(Path(path), options) as reader:
            case, header = reader.read(asked), reader.header
            found = reader.read_user_prompts(case.sentences, case.image.shape, case.instance)
        notes = (*case.notes, *unused_choices(Path(path), options), *found.notes)
        case = replace(case, user=found.user, notes=notes)
        understood, choice = self.understand(case, modality)
        case = settle(case, understood, choice, self.capabilities.stored_numbers)
        segmentation = self.segment_case(
            case, understood, clock, progress=progress, keep_probabilities=True, smaller_wins=True
        )
        segmentation = replace(segmentation, fallbacks=[*found.fallbacks, *segmentation.fallbacks])
        by_id = prompts is None or isinstance(prompts, Mapping)
        results = PromptResults([segmentation.prompts[p.id] for p in understood], by_id)
        report = self._report(case, choice, segmentation, time.monotonic() - started)
        labels = segmentation.labels
        stored = header.stored_labels(labels) if isinstance(header, FileAxes) else labels
        return Result(stored, results, report, segmentation, case, header, Path(path))

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
        with self.working():
            return parse_case(case, lambda: self.text_encoder, named_modality(modality))

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
        smaller_wins: bool = False,
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
            smaller_wins: see ``engine.Engine.segment``.
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
                smaller_wins=smaller_wins,
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
                "provenance": self.provenance,
                "runtime": self.runtime_report(),
                "shape": case.image.shape,
                "spacing_dhw_mm": case.spacing_dhw_mm,
                "instance": case.instance,
                "modality": choice.modality,
                "modality_source": choice.source,
                "modality_why": choice.why,
                "notes": (*case.notes, *segmentation.notes),
                "prompts": tuple(segmentation.prompts.values()),
                "stages": segmentation.stages,
                "ladder": segmentation.ladder,
                "fallbacks": segmentation.fallbacks,
                "seconds": seconds,
            }
        )
