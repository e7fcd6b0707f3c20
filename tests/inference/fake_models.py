"""Networks with known answers, profiles without weights, made cases: what the engine's tests need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from msgspec import structs

from vesal.inference.api import Model
from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt, Target
from vesal.inference.engine import Engine
from vesal.inference.families.nano import NanoModel
from vesal.inference.planning.manifest import CoveredTarget
from vesal.inference.planning.profile import Override, Profile
from vesal.inference.planning.rules import OrientationRule, StageRule
from vesal.inference.stages.segmentation import Segmentation
from vesal.inference.timing.clock import Clock
from vesal.postprocess.rule import Rule

LEVELS = {"liver": 200, "spleen": 120, "kidney": 160, "cell": 200, "lesion": 240}
"""Brightness by which the fake network tells its targets apart; a text vector holds nothing else."""
BANK = {name: np.array([level], np.float32) for name, level in LEVELS.items()}

FAKE_RUNTIME = SimpleNamespace(name="fake", reason="it needs none", precision="fp32", threads=1)

Graph = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


class Bright:
    """Finds what is within 20 of a target's brightness; left is the lower half of the view's last axis.

    The probability is 1 at the exact level and falls to 0 at 40 off. Keeps what it was asked in ``calls``.
    """

    def __init__(self, sure: float = 1.0) -> None:
        self.sure = sure
        self.calls: list[dict[str, np.ndarray]] = []

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.calls.append(inputs)
        raw = inputs["image"][:, :1] * 127.5 + 127.5
        level = inputs["text"][:, :, 0][:, :, None, None, None]
        probability = np.clip(1 - np.abs(raw - level) / 40, 0, 1) * self.sure
        width = probability.shape[4] // 2
        for row, side in enumerate(inputs["side"][0]):
            if side:
                probability[:, row, :, :, slice(width, None) if side == 1 else slice(0, width)] = 0
        return {"probability": probability.astype(np.float32), "presence": probability.max((3, 4))}


class Constant:
    """The same probability and presence everywhere."""

    def __init__(self, probability: float, presence: float = 1.0) -> None:
        self.probability, self.presence = probability, presence
        self.calls: list[dict[str, np.ndarray]] = []

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.calls.append(inputs)
        shape = inputs["prompt"].shape
        return {
            "probability": np.full(shape, self.probability, np.float32),
            "presence": np.full(shape[:3], self.presence, np.float32),
        }


def make_profile(
    coarse: StageRule | None = None,
    fine: StageRule | None = None,
    postprocess: tuple[Rule, ...] = (),
    targets: Sequence[tuple[str, str | None, str]] | None = None,
    overrides: tuple[Override, ...] = (),
    any_orientation: bool = True,
    orientation: OrientationRule | None = None,
    stages: Sequence[str] = ("coarse", "fine"),
) -> Profile:
    """A profile of the fake network: views of 32^3 voxels in all stages, no rules of postprocessing."""
    if targets is None:
        targets = [(name, None, "CT") for name in ("liver", "spleen", "cell")]
        targets += [("kidney", side, "CT") for side in ("left", "right")]
    return Profile(
        name="fakes",
        folder=Path("nowhere"),
        family="nano",
        licence="none",
        bank=Path("nowhere"),
        stages=make_stages(coarse, fine, stages),
        postprocess=postprocess,
        overrides=overrides,
        targets=tuple(CoveredTarget(*t, any_orientation=any_orientation) for t in targets),
        orientation=orientation,
    )


def make_stages(
    coarse: StageRule | None = None,
    fine: StageRule | None = None,
    names: Sequence[str] = ("coarse", "fine"),
) -> tuple[StageRule, ...]:
    """Stages by name, the first locates; of 32^3 voxels where no rule is given."""
    first = structs.replace(coarse or StageRule(window_voxels=32**3), name=names[0], role="locate")
    then = fine or StageRule(window_voxels=32**3, margin_factor=1.2)
    return first, *(structs.replace(then, name=name, role="refine") for name in names[1:])


def make_engine(graph: Graph | None = None, **rules: Any) -> Engine:
    """An engine around one fake network for all degrees; ``rules`` go to ``make_profile``."""
    used = graph or Bright()
    graphs: Mapping[int, Graph] = {0: used, 1: used, 2: used}
    profile = make_profile(**rules)
    return Engine(profile, FAKE_RUNTIME, NanoModel(graphs, BANK, profile))


def make_model(graph: Graph | None = None, **rules: Any) -> Model:
    """The same for who calls it from outside."""
    return Model(make_engine(graph, **rules))


def make_prompt(
    id_: int, concept: str | None, side: str | None = None, kind: str = "organ", **changes: Any
) -> Prompt:
    """A prompt as the parser would give it."""
    values: dict[str, Any] = {
        "id": id_,
        "text": f"{side or ''} {concept} in CT".strip(),
        "modality": "CT",
        "targets": (Target(concept, side, kind),) if concept else (),
        "found_by": "term" if concept else "none",
        "similarity": None,
        "why": "the term was found" if concept else "no term was found",
    }
    return Prompt(**(values | changes))


def make_case(
    image: np.ndarray,
    prompts: Sequence[Prompt],
    spacing_dhw_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    instance: bool = False,
) -> Case:
    """A case around an image (D, H, W) uint8."""
    return Case("made", image, spacing_dhw_mm, {p.id: p.text for p in prompts}, instance, None, ())


def made_image(
    shape: tuple[int, int, int], *cubes: tuple[tuple[slice, slice, slice], int], background: int = 20
) -> np.ndarray:
    """(D, H, W) uint8 with boxes of one brightness each."""
    image = np.full(shape, background, np.uint8)
    for box, level in cubes:
        image[box] = level
    return image


class Saved:
    """Keeps the label maps that the engine puts on disk on its way."""

    def __init__(self) -> None:
        self.maps: list[np.ndarray] = []

    def __call__(self, labels: np.ndarray) -> None:
        self.maps.append(labels.copy())


def segment(
    engine: Engine,
    image: np.ndarray,
    prompts: Sequence[Prompt],
    clock: Clock | None = None,
    save: Callable[[np.ndarray], None] | None = None,
    **case: Any,
) -> Segmentation:
    """Run one case with a clock that stands still unless one is given."""
    still = Clock(600.0, 0.0, lambda: 0.0)
    return engine.segment(make_case(image, prompts, **case), prompts, clock or still, save or Saved())


def dice(found: np.ndarray, truth: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|); 1 where both are empty."""
    size = np.count_nonzero(found) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(found & truth) / size if size else 1.0
