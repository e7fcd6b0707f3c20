"""Rounds of correction, as in the challenge's interactive track: boxes or clicks first, then one more click
for each class and round, in the middle of its largest error, with the last result beside them.
"""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.inference.fake_models import BANK, Saved, dice, make_case, make_profile, make_prompt
from vesal.inference.data.user_prompts import Point, UserMask, UserPrompts
from vesal.inference.engine import Engine
from vesal.inference.families.nano import NanoModel
from vesal.inference.io.formats import read_case
from vesal.inference.stages.marked_components import components
from vesal.inference.timing.clock import Clock
from vesal.training.measure.marked import deepest, slice_box

FALL = 0.01
"""What one round may cost of Dice."""


def unnamed(id_: int, modality: str) -> Any:
    return make_prompt(id_, None, text="", why="there is no sentence", modality=modality)


def next_click(found: np.ndarray, truth: np.ndarray) -> Point | None:
    """The middle of the largest error of a class (D, H, W) bool; None where there is no error."""
    errors = []
    for wrong, foreground in ((truth & ~found, True), (found & ~truth, False)):
        labels = components(wrong)
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        if sizes.any():
            errors.append((int(sizes.max()), foreground, labels == sizes.argmax()))
    if not errors:
        return None
    _, foreground, part = max(errors, key=lambda each: each[0])
    return Point(deepest(part), foreground)


def rounds(engine: Engine, case: Any, truth: np.ndarray, modality: str, by: str, count: int) -> Any:
    """Dice, and what it is run as, of each class in each round."""
    ids = [int(i) for i in np.unique(truth) if i]
    prompts = tuple(unnamed(i, modality) for i in ids)
    boxes = {i: (slice_box(truth == i),) for i in ids} if by == "box" else {}
    points = {} if boxes else {i: (Point(deepest(truth == i), True),) for i in ids}
    mask, found, names = None, [], []
    for _ in range(count):
        user = UserPrompts(mask, boxes, points)
        result = engine.segment(replace(case, user=user), prompts, Clock(900.0, 0.0, lambda: 0.0), Saved())
        labels = result.labels.astype(np.uint16)
        found.append([dice(labels == i, truth == i) for i in ids])
        names.append([result.prompts[i].candidates[0].target for i in ids])
        assert all(result.prompts[i].target in (None, names[-1][i - 1]) for i in ids)
        for i in ids:
            click = next_click(labels == i, truth == i)
            points = points if click is None else {**points, i: (*points.get(i, ()), click)}
        mask = UserMask(labels, tuple(int(i) for i in np.unique(labels) if i), "the last result")
    return np.array(found), names


SHAPE = (32, 32, 32)
ORGAN, BULGE, GAP, OTHER = (
    (slice(4, 16), slice(4, 16), slice(4, 16)),
    (slice(8, 12), slice(8, 12), slice(16, 20)),
    (slice(7, 12), slice(7, 12), slice(2, 4)),
    (slice(20, 28), slice(20, 28), slice(20, 28)),
)


class Wrong:
    """Finds two targets by their brightness, one of them with a bulge that it is not and without a part."""

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        raw = inputs["image"][:, :1] * 127.5 + 127.5
        level = inputs["text"][:, :, 0][:, :, None, None, None]
        probability = np.clip(1 - np.abs(raw - level) / 40, 0, 1).astype(np.float32)
        return {"probability": probability, "presence": probability.max((3, 4))}


def made_case() -> tuple[np.ndarray, np.ndarray]:
    """Image and truth (D, H, W): of the bulge a probability of 0.75 is told, of the gap 0.3."""
    image, truth = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint16)
    image[ORGAN], image[BULGE], image[GAP], image[OTHER] = 200, 190, 228, 120
    truth[ORGAN] = truth[GAP] = 1
    truth[OTHER] = 2
    return image, truth


@pytest.mark.parametrize("by", ["box", "click"])
def test_each_round_corrects_and_names_stay(by: str) -> None:
    image, truth = made_case()
    profile = make_profile(targets=[("liver", None, "CT"), ("spleen", None, "CT")])
    model = NanoModel({i: Wrong() for i in range(3)}, BANK, profile)
    engine = Engine(profile, SimpleNamespace(name="fake"), model)
    case = make_case(image, (unnamed(1, "CT"), unnamed(2, "CT")))
    found, names = rounds(engine, case, truth, "CT", by, 5)
    assert names == [["liver", "spleen"]] * 5
    assert (np.diff(found, axis=0) > -FALL).all() and found[-1][0] > found[0][0] + 0.02
    assert found[-1][1] > 0.99


VAL = "data/val/MR_Hippocampus/MR_Hippocampus_hippocampus-{}.npz"
HIPPOCAMPI = ("007", "038", "046", "074")


@pytest.mark.parametrize("by", ["box", "click"])
def test_rounds_on_hippocampi_cost_nothing_and_names_stay(shared: Path, by: str) -> None:
    """Also those whose anterior part alone would be taken for a spinal cord."""
    if not (shared / VAL.format(HIPPOCAMPI[0])).is_file():
        pytest.skip(f"no {VAL} in the folder `shared`")
    engine = Engine.open("nano", threads=1)
    wanted = ["anterior hippocampus", "posterior hippocampus"]
    for number in HIPPOCAMPI:
        path = shared / VAL.format(number)
        with np.load(path) as arrays:
            truth = arrays["gts"].astype(np.uint16)
        found, names = rounds(engine, read_case(path), truth, "MR", by, 3)
        assert names == [wanted] * 3, (number, names)
        assert (np.diff(found, axis=0) > -FALL).all() and found.min() > 0.83, (number, found)
