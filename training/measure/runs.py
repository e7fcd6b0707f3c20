"""A labelled case through the engine: what every measurement here is made of."""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vesal.evaluation.files import read_truth
from vesal.inference.api import Model
from vesal.inference.data.case import Case
from vesal.inference.data.errors import UsageError
from vesal.inference.data.prompt import Prompt, Target
from vesal.inference.io.formats import read_case
from vesal.inference.planning.manifest import CoveredTarget
from vesal.inference.prompts.parser import parse_prompts
from vesal.inference.stages.segmentation import Segmentation
from vesal.inference.timing.clock import Clock, case_budget_s
from vesal.training.store import TargetKey as TargetKey


@dataclass(frozen=True)
class Labelled:
    """A case with its truth."""

    dataset: str
    case: Case
    truth: np.ndarray
    """(D, H, W) unsigned: prompt ids, or object ids in an instance case"""
    prompts: tuple[Prompt, ...]

    def mask(self, labels: np.ndarray, prompt_id: int) -> np.ndarray:
        """(D, H, W) bool: the voxels of one prompt; of an instance case all objects as one foreground."""
        return labels > 0 if self.case.instance else labels == prompt_id


@dataclass(frozen=True)
class Run:
    """What came of one case, and what it took."""

    labels: np.ndarray
    """(D, H, W) unsigned, as it would be written"""
    coarse: np.ndarray
    """(D, H, W) unsigned, what the coarse stage alone would have written"""
    result: Segmentation
    seconds: float
    """Wall time of the engine, without reading and writing."""
    cpu_s: float
    """Processor time of all threads of this process."""

    @property
    def short(self) -> str:
        """What was left out, mostly because time ran short; empty where the case ran as planned."""
        return "; ".join(self.result.fallbacks)


def add_case_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of a measurement that runs weights on the labelled cases of a folder."""
    parser.add_argument("--data", type=Path, required=True, help="folder with SET/*.npz and labels")
    parser.add_argument("--weights", type=Path, required=True, help="folder with a manifest.json")
    parser.add_argument("--most", type=int, default=0, help="at most this many cases of a set; 0: all")


def read_labelled(path: Path, truth_path: Path | None = None) -> Labelled:
    """Read a case of ``SET/NAME.npz``; ``gts`` from ``truth_path``, or from the case itself.

    A case with a truth file of its own is a set of its own. Raises CaseError and GroundTruthError.
    """
    case = read_case(path)
    truth = read_truth(truth_path or path)
    if truth.shape != case.image.shape:
        raise UsageError(f"{path}: 'gts' is {truth.shape}, 'imgs' {case.image.shape}; they must agree")
    dataset = case.name if truth_path else path.parent.name
    return Labelled(dataset, case, truth, parse(case, case.sentences))


def parse(case: Case, sentences: dict[int, str]) -> tuple[Prompt, ...]:
    """Prompts of some sentences for this case, by terms alone: no text encoder is loaded."""
    prompts, _ = parse_prompts(sentences, name=case.name, image=case.image)
    return prompts


def find_cases(
    data: Path, most: int = 0, real: Path | None = None, only: Collection[str] = ()
) -> list[tuple[Path, Path | None]]:
    """Labelled cases of ``data/SET`` (at most so many of a set, 0: all; of ``only`` some sets, if given) with
    None, then ``real/imgs`` with their file of ``real/gts``. Raises UsageError where there is none.
    """
    if not data.is_dir():
        raise UsageError(f"{data} is no folder; give one with SET/NAME.npz")
    found: list[tuple[Path, Path | None]] = []
    for folder in sorted(p for p in data.iterdir() if p.is_dir() and (not only or p.name in only)):
        cases = sorted(folder.glob("*.npz"))
        found += [(path, None) for path in (cases[:most] if most else cases)]
    if real is not None:
        found += [(path, real / "gts" / path.name) for path in sorted((real / "imgs").glob("*.npz"))]
    if not found:
        sets = f" of {', '.join(sorted(only))}" if only else ""
        raise UsageError(f"{data} holds no SET/NAME.npz{sets}; give a folder such as DIR/val")
    return found


def read_cases(
    data: Path, most: int = 0, real: Path | None = None, only: Collection[str] = ()
) -> Iterator[Labelled]:
    """The cases of ``find_cases``, read one by one, with a progress bar."""
    from tqdm import tqdm

    for path, truth in tqdm(find_cases(data, most, real, only), disable=None):
        yield read_labelled(path, truth)


def run_case(model: Model, case: Case, prompts: Sequence[Prompt], budget_s: float | None = None) -> Run:
    """Segment one case; ``budget_s`` seconds, else what the challenge gives.

    On a busy machine the time may run short, which ``Run.short`` tells: that is not how good the weights are.
    """
    saved: list[np.ndarray] = []
    wall, cpu = time.monotonic(), time.process_time()
    clock = Clock(case_budget_s(len(prompts), budget_s), wall)
    result = model.segment_case(case, prompts, clock, lambda labels: saved.append(labels.copy()))
    seconds, cpu_s = time.monotonic() - wall, time.process_time() - cpu
    # Saved first, and once more where the case is then run in another orientation; what follows is refined.
    located = saved[: 1 if result.orientation.is_stored else 2]
    coarse = located[-1] if located else np.zeros_like(result.labels)
    return Run(result.labels, coarse, result, seconds, cpu_s)


def covering(model: Model, targets: Iterable[TargetKey]) -> Model:
    """The same network with a profile that covers ``targets`` too, as far as it has a text vector of them.

    A target without a side whose two sides are covered is not added: the engine runs it as its two sides.
    """
    profile = model.profile
    listed = {(t.concept, t.side, t.modality): t for t in profile.not_covered}
    new = []
    for concept, side, modality in dict.fromkeys(targets):
        if profile.covers(concept, side, modality):
            continue
        if side is None and all(profile.covers(concept, s, modality) for s in ("left", "right")):
            continue
        target = listed.get((concept, side, modality)) or CoveredTarget(concept, side, modality)
        if _can_be_asked(model, target):
            new.append(target)
    return model.with_profile(targets=(*profile.targets, *new))


def _can_be_asked(model: Model, target: CoveredTarget) -> bool:
    """Whether the network could be run for a target if its profile listed it."""
    name = " ".join(filter(None, (target.side, target.concept)))
    asked = Target(target.concept, target.side)
    prompt = Prompt(1, name, target.modality, (asked,), "term", None, "it is listed")
    listing = replace(model.profile, targets=(target,))
    blank = Case("blank", np.zeros((1, 1, 1), np.uint8), (1.0, 1.0, 1.0), {1: name}, False, None, ())
    return not model.engine.model.plan([prompt], listing, blank).refused


def key_of(prompt: Prompt) -> TargetKey | None:
    """What a prompt asks for; None where its sentence is not understood."""
    return (prompt.concept, prompt.side, prompt.modality) if prompt.concept else None
