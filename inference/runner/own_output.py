"""What is written for one of the user's own scans: the label map, names and colours beside it, masks.

Nothing is written before the result is there: a label map that lies there is a result, and one that could not
be made does not replace an older one.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vesal import __version__
from vesal.inference.data.colours import hex_of
from vesal.inference.data.errors import UnreadableFileError
from vesal.inference.data.prompt import Prompt
from vesal.inference.io.digests import hashed
from vesal.inference.io.label_names import (
    LabelName,
    label_names,
    slicer_colours,
    snap_labels,
    write_named_labels,
    write_text,
)
from vesal.inference.io.label_writer import write_label_map
from vesal.inference.io.probability_writer import write_probability
from vesal.inference.output.case_output import COARSE, CaseOutput
from vesal.inference.output.report import to_json
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.inference.runner.case_paths import CasePaths
from vesal.inference.runner.own_inputs import inputs_of
from vesal.inference.runner.own_proof import (
    DICOM_SUFFIX,
    PROBABILITY,
    is_foreign,
    mask_folder,
    masks_of,
    output_name,
    proof_of,
    side_outputs,
)
from vesal.inference.runner.settings import Settings

if TYPE_CHECKING:
    from vesal.inference.io.dicom_seg import Segment

log = logging.getLogger("vesal")

MAX_NAME = 60
"""Characters of a prompt in the name of a file."""


@dataclass(frozen=True)
class Found:
    """What a case gave, for its files; arrays (D,H,W) on the engine's axes."""

    labels: np.ndarray
    prompts: Sequence[Prompt]
    instance: bool
    mask: Callable[[int], np.ndarray]
    """bool, by the prompt's id"""
    probability: Callable[[int], np.ndarray]
    """float32, by the prompt's id"""
    results: Callable[[], Mapping[int, Any]]
    """What the report says of each prompt; counted when it is asked for."""
    modality: str | None = None


class OwnOutput(CaseOutput):
    """The files of one scan; `written` describes what there is."""

    def __init__(self, pair: CasePaths, settings: Settings) -> None:
        """Of one scan."""
        super().__init__(pair.output)
        self.pair, self.settings, self.source = pair, settings, pair.input
        self.header: object = None
        self._inputs: dict[str, Any] = {}
        self._masks: list[str] = []

    def write_zeros(self, shape: tuple[int, ...] | None, header: object = None) -> None:
        """Keep shape and geometry, and what the result depends on; a scan that fails has no label map."""
        self.shape, self.header = shape, header
        self._inputs = inputs_of(self.pair, self.settings)

    def write_so_far(self, labels: np.ndarray) -> None:
        """Write what is known so far, (D,H,W), only where there is a time limit that may end the case."""
        if self.settings.seconds is not None and self.path.suffix.lower() != DICOM_SUFFIX:
            with self._writing:
                self._check_open()
                self._mark_unfinished()
                write_label_map(self.path, self.checked(labels), self.header)
                self.written = COARSE

    def write_missing_zeros(self, shape: tuple[int, ...] | None) -> None:
        """Nothing: see the module."""

    def write_found(self, found: Found) -> None:
        """Write the result and what goes with it; the JSON file, which proves that all is there, last."""
        names = label_names(_names(found))
        with self._writing:
            self._check_open()
            self._mark_unfinished(self._mask_names(found))
            if self.path.suffix.lower() == DICOM_SUFFIX:
                self._write_dicom(found)
            else:
                write_named_labels(self.path, self.checked(found.labels), self.header, names)
            self.written = "the labels"
        self._write_masks(found)
        proof, colours, snap = side_outputs(self.path)
        write_text(colours, slicer_colours(names))
        write_text(snap, snap_labels(names))
        write_text(proof, self._told(found, names))

    def _write_dicom(self, found: Found) -> None:
        from vesal.inference.io.dicom_seg import MadeBy, write_dicom_seg

        names = label_names(_prompt_names(found))
        segments = [
            segment_of(prompt, each, self.checked(found.mask(prompt.id)))
            for prompt, each in zip(found.prompts, names, strict=True)
        ]
        made_by = MadeBy(Path(self.settings.weights).name, __version__)
        write_dicom_seg(self.path, self.source, self.settings.reading, segments, made_by)

    def _write_masks(self, found: Found) -> None:
        """Masks and probabilities of each prompt, where wanted, in a folder of the label map's name."""
        is_dicom = self.path.suffix.lower() == DICOM_SUFFIX
        suffix = ".nii.gz" if is_dicom else self.path.name[len(output_name(self.path)) :]
        folder = mask_folder(self.path)
        for prompt in found.prompts:
            name = mask_name(prompt)
            if self.settings.separate:
                mask = self.checked(found.mask(prompt.id)).astype(np.uint8)
                target = label_names({1: prompt.target or prompt.text})
                write_named_labels(folder / f"{name}{suffix}", mask, self.header, target)
            if self.settings.probabilities is not None:
                values = self.checked(found.probability(prompt.id))
                path = folder / f"{name}{PROBABILITY}{suffix}"
                write_probability(path, values, self.header, self.settings.probabilities)

    def _mask_names(self, found: Found) -> list[str]:
        """Names without suffix of what `_write_masks` writes."""
        return _wanted_masks([mask_name(prompt) for prompt in found.prompts], self.settings)

    def _told(self, found: Found, names: Sequence[LabelName]) -> str:
        """The JSON file beside a label map."""
        results = found.results()
        content = {
            "image": os.path.basename(os.path.abspath(self.source)),
            "label_map": self.path.name,
            "sha256": hashed(self.path),
            "whole": True,
            "inputs": self._inputs,
            "masks": self._masks,
            "weights": Path(self.settings.weights).name,
            "version": __version__,
            "modality": found.modality,
            "chosen": asdict(self.settings.reading),
            "instances": found.instance,
            "labels": [
                {"value": each.value, "name": each.name, "colour": hex_of(each.colour), "rgb": each.colour}
                for each in names
            ],
            "prompts": [_told_of(prompt, results.get(prompt.id)) for prompt in found.prompts],
        }
        return json.dumps(to_json(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def _mark_unfinished(self, masks: Sequence[str] = ()) -> None:
        """What is written from here on, and ``masks``, is ours and not whole before the JSON file says so."""
        self._masks = sorted({*masks_of(proof_of(self.path)), *masks})
        content = {"label_map": self.path.name, "sha256": None, "whole": False, "masks": self._masks}
        write_text(side_outputs(self.path)[0], json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def may_stay(pair: CasePaths, settings: Settings) -> bool:
    """Whether a scan is left out (`--skip-existing`), which the log tells."""
    if not settings.skip_existing:
        return False
    if is_foreign(pair.output):
        log.warning(
            "case %s: %s is there and was not written by vesal; it stays as it is", pair.name, pair.output
        )
        return True
    if not is_whole(pair, settings):
        return False
    log.info("case %s: its label map %s is there, it is left out", pair.name, pair.output)
    return True


def is_whole(
    pair: CasePaths, settings: Settings, *, scan_is_known: bool = False, map_is_known: bool = False
) -> bool:
    """Whether a label map is there, unchanged since it was written, with all that is wanted beside it, and
    would be made of the same again (`own_inputs.inputs_of`). Never raises.

    ``scan_is_known``, ``map_is_known``: the scan with what lies beside it, or the label map with its, is not
    here and known to be as it was then; of the label map the proof is here.
    """
    content = proof_of(pair.output)
    if content is None or content.get("whole") is not True:
        return False
    try:
        inputs = inputs_of(pair, settings)
        if scan_is_known:
            inputs |= {name: content["inputs"][name] for name in ("scan", "beside")}
        if content["inputs"] != inputs or map_is_known:
            return bool(content["inputs"] == inputs)
        wanted = _wanted_masks([str(prompt["file"]) for prompt in content["prompts"]], settings)
        there = (
            {path.name.split(".", 1)[0] for path in mask_folder(pair.output).iterdir()} if wanted else set()
        )
        return (
            all(other.is_file() for other in side_outputs(pair.output))
            and there.issuperset(wanted)
            and hashed(pair.output) == content["sha256"]
        )
    except (OSError, UnreadableFileError, ValueError, KeyError, TypeError):
        return False


def _wanted_masks(names: Sequence[str], settings: Settings) -> list[str]:
    """Names without suffix of the masks and probabilities that are wanted, by those of the masks."""
    masks = list(names) if settings.separate else []
    return masks + [f"{name}{PROBABILITY}" for name in names if settings.probabilities is not None]


def mask_name(prompt: Prompt) -> str:
    """Name of the file of a prompt's mask, without suffix: `1_left_kidney`."""
    words = "".join(c if c.isalnum() else " " for c in prompt.target or prompt.text or "target").split()
    return f"{prompt.id}_{'_'.join(words)[:MAX_NAME]}"


def _names(found: Found) -> dict[int, str]:
    """Name by value: of prompts, or of each object."""
    names = _prompt_names(found)
    if not found.instance:
        return names
    values = [int(value) for value in np.unique(found.labels) if value]
    owners = {id_: np.unique(found.labels[found.mask(id_)]) for id_ in names}
    of_value = {int(value): names[id_] for id_, values_ in owners.items() for value in values_}
    return {value: f"{of_value.get(value, 'object')} {value}" for value in values}


def _prompt_names(found: Found) -> dict[int, str]:
    return {prompt.id: prompt.target or prompt.text or f"target {prompt.id}" for prompt in found.prompts}


def segment_of(prompt: Prompt, name: LabelName, mask: np.ndarray) -> Segment:
    """A DICOM segment of a prompt; ``mask`` is (D,H,W) bool."""
    from vesal.inference.io.dicom_seg import Segment

    concept = load_vocabulary().concepts.get(prompt.concept or "")
    terms = (concept.name, *concept.terms) if concept else (prompt.text,)
    return Segment(name.name, terms, prompt.kind, prompt.side, name.colour, mask)


def _told_of(prompt: Prompt, result: Any) -> dict[str, Any]:
    """What is told of a prompt."""
    told = {"id": prompt.id, "text": prompt.text, "target": prompt.target, "file": mask_name(prompt)}
    fields = ("covered", "why", "voxels", "volume_ml", "mean_probability", "objects", "lost_to")
    return {**told, **{name: getattr(result, name, None) for name in fields}}
