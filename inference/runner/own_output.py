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
from vesal.inference.io.prompt_files import Prompts
from vesal.inference.output.case_output import COARSE, CaseOutput
from vesal.inference.output.report import to_json
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.inference.runner.case_paths import CasePaths
from vesal.inference.runner.own_cases import DICOM_SUFFIX, output_name, side_outputs
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

    def __init__(self, path: Path, settings: Settings, source: Path) -> None:
        """`source` is the scan."""
        super().__init__(path)
        self.settings, self.source = settings, source
        self.header: object = None

    def write_zeros(self, shape: tuple[int, ...] | None, header: object = None) -> None:
        """Keep shape and geometry; a scan that fails has no label map."""
        self.shape, self.header = shape, header

    def write_so_far(self, labels: np.ndarray) -> None:
        """Write what is known so far, (D,H,W), only where there is a time limit that may end the case."""
        if self.settings.seconds is not None and self.path.suffix.lower() != DICOM_SUFFIX:
            self._remove_proof()
            with self._writing:
                self._check_open()
                write_label_map(self.path, self.checked(labels), self.header)
                self.written = COARSE

    def write_missing_zeros(self, shape: tuple[int, ...] | None) -> None:
        """Nothing: see the module."""

    def write_found(self, found: Found) -> None:
        """Write the result and what goes with it; the JSON file, which proves that all is there, last."""
        names = label_names(_names(found))
        self._remove_proof()
        with self._writing:
            self._check_open()
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
                path = folder / f"{name}_probability{suffix}"
                write_probability(path, values, self.header, self.settings.probabilities)

    def _told(self, found: Found, names: Sequence[LabelName]) -> str:
        """The JSON file beside a label map."""
        results = found.results()
        content = {
            "image": os.path.basename(os.path.abspath(self.source)),
            "label_map": self.path.name,
            "sha256": hashed(self.path),
            "weights": Path(self.settings.weights).name,
            "text_embeddings": _own_vectors(self.settings),
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

    def _remove_proof(self) -> None:
        """What is written from here on is not whole before there is a new JSON file."""
        side_outputs(self.path)[0].unlink(missing_ok=True)


def may_stay(pair: CasePaths, settings: Settings) -> bool:
    """Whether a scan is left out (`--skip-existing`), which the log tells."""
    if not settings.skip_existing or not is_whole(pair.output, pair.asked, settings):
        return False
    log.info("case %s: its label map %s is there, it is left out", pair.name, pair.output)
    return True


def is_whole(output: Path, asked: Prompts | None, settings: Settings) -> bool:
    """Whether a label map is there, unchanged since it was written, with all that is wanted beside it.

    It is of the same weights, series, level and volume, and where prompts were `asked` for of the same ones.
    Never raises.
    """
    proof, *others = side_outputs(output)
    try:
        content = json.loads(proof.read_text(encoding="utf-8"))
        sentences = {prompt["id"]: prompt["text"] for prompt in content["prompts"]}
        same = content["weights"] == Path(settings.weights).name and content["instances"] in (True, False)
        same = same and content.get("text_embeddings") == _own_vectors(settings)
        same = same and content["chosen"] == asdict(settings.reading)
        if asked is not None:
            same = same and sentences == asked.sentences and content["instances"] == asked.instance
        files = [prompt["file"] for prompt in content["prompts"]]
        wanted = [f"{name}" for name in files if settings.separate]
        wanted += [f"{name}_probability" for name in files if settings.probabilities]
        folder = mask_folder(output)
        there = {path.name.split(".", 1)[0] for path in folder.iterdir()} if wanted else set()
        return (
            same
            and all(other.is_file() for other in others)
            and there.issuperset(wanted)
            and hashed(output) == content["sha256"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _own_vectors(settings: Settings) -> str | None:
    """SHA-256 of the user's text vectors, which a label map depends on. Raises OSError."""
    return None if settings.text_embeddings is None else hashed(settings.text_embeddings)


def mask_folder(output: Path) -> Path:
    """Folder of the masks of a label map: `NAME_seg/`."""
    return output.with_name(output_name(output))


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
