"""Zoom-out and zoom-in against recordings of SegVol's public code: every call, region and logit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.fake_models import FAKE_RUNTIME, Saved, make_case, make_prompt
from tests.inference.families.segvol.recorded import (
    FIELDS,
    FOLDER,
    PROFILE,
    RecordedPredictor,
    Run,
    as_it_is,
    read_runs,
    read_volumes,
)
from vesal.inference.data.user_prompts import Point, UserPrompts
from vesal.inference.engine import Engine
from vesal.inference.families.segvol import case_plan, family
from vesal.inference.families.segvol.family import SegVolModel
from vesal.inference.families.segvol.layouts import ZoomTiling
from vesal.inference.families.segvol.preprocess import look_at
from vesal.inference.families.segvol.prompts import Marked
from vesal.inference.families.segvol.regions import grow
from vesal.inference.families.segvol.stage import Texts, ZoomStage
from vesal.inference.geometry.nearest import nearest_exact
from vesal.inference.stages.segmentation import Segmentation
from vesal.inference.timing.clock import Clock

SPACING_MM = (1.0, 1.0, 1.0)


class RecordedModel(SegVolModel):
    """The family with another network; a text is a number."""

    def __init__(self, stage: ZoomStage) -> None:
        self._stage, self._fields = stage, FIELDS

    def encode_prompts(self, queries: Any) -> Texts:
        """A vector for every prompt with a sentence."""
        vectors = tuple(np.ones(1, np.float32) if query.concept else None for query in queries)
        return Texts(vectors, tuple(query.name for query in queries))


class Choices:
    """The recorded points of zoom-in, one window after the other."""

    def __init__(self, run: Run) -> None:
        self._left: Iterator[Any] = iter(run.calls[1:])
        self.marked: list[np.ndarray] = []

    def __call__(self, case: bytes, prompt: str, window: Any, marked: np.ndarray, extra: int) -> Any:
        """As ``draw_points``."""
        self.marked.append(marked)
        points, labels = next(self._left)["points"]
        return np.array(points[0], np.float32), np.array(labels[0], np.float32)


@pytest.fixture(autouse=True)
def _grey_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (case_plan, family):
        monkeypatch.setattr(module, "look_at", as_it_is)


def marked_of(run: Run) -> Marked:
    """What the recorded code made of the label, on zoom-out's grid."""
    first = run.calls[0]
    box, points = None, ()
    if first["boxes"]:
        sides = [int(side) for side in first["boxes"]]
        box = tuple(sides[:3]), tuple(sides[3:])
    if first["points"]:
        places, labels = first["points"]
        points = tuple(
            (tuple(map(int, at)), label > 0) for at, label in zip(places[0], labels[0], strict=True)
        )
    return Marked(box, points)


def segmented(run: Run, image: np.ndarray) -> tuple[Segmentation, RecordedPredictor, Choices, Saved]:
    """The recorded case through the whole engine."""
    network, choices, saved = RecordedPredictor(), Choices(run), Saved()
    prompt = make_prompt(1, "liver") if "text" in run.asks else make_prompt(1, None, text="sentence")
    name = "liver" if "text" in run.asks else "sentence"
    stage = ZoomStage(network, 8, 4, choices, {name: marked_of(run)} if run.asks - {"text"} else {})
    engine = Engine(PROFILE, FAKE_RUNTIME, RecordedModel(stage))
    # What was recorded stands in for it; without any mark the network would be asked by text alone.
    user = UserPrompts(points={1: (Point((0, 0, 0), True),)}) if run.asks - {"text"} else UserPrompts()
    case = replace(make_case(image.astype(np.float32), [prompt]), user=user)
    still = Clock(600.0, 0.0, lambda: 0.0)
    found = engine.segment(case, [prompt], still, saved, keep_probabilities=True)
    return found, network, choices, saved


def runs_with_volume(shared: Path) -> list[tuple[Run, dict[str, np.ndarray]]]:
    """Recorded runs whose volume is not kept back."""
    arrays = read_volumes(shared)
    return [(run, arrays) for run in read_runs(shared, "fake") if f"{run.volume}_image" in arrays]


def test_some_runs_are_there(shared: Path) -> None:
    assert {run.name for run, _ in runs_with_volume(shared)} >= {"B_fake_text", "B_fake_box"}


def test_every_call_is_as_recorded(shared: Path) -> None:
    for run, arrays in runs_with_volume(shared):
        _, network, choices, _ = segmented(run, arrays[f"{run.volume}_image"])
        assert len(network.calls) == len(run.calls), run.name
        for mine, theirs in zip(network.calls, run.calls, strict=True):
            assert mine.image.sum(dtype=np.float64) == pytest.approx(theirs["img_sum"], rel=1e-6), run.name
            assert (mine.asked.text is not None) == (theirs["text"] is not None)
            box = None if mine.asked.box is None else mine.asked.box.tolist()
            assert box == theirs["boxes"], run.name
            if theirs["points"] is None:
                assert mine.asked.points is None
        for marked, theirs in zip(choices.marked, run.calls[1:], strict=False):
            points, labels = (np.array(each[0]) for each in theirs["points"])
            voxels = set(map(tuple, marked.tolist()))
            assert set(map(tuple, points[labels == 1].astype(int).tolist())) <= voxels, run.name
            assert np.count_nonzero(labels == 1) == 1 + min(4, len(voxels))


def test_regions_and_logits_are_as_recorded(shared: Path) -> None:
    for run, arrays in runs_with_volume(shared):
        if f"{run.name}_logits" not in arrays:  # kept back
            continue
        image = arrays[f"{run.volume}_image"]
        found, *_, saved = segmented(run, image)
        wanted = arrays[f"{run.name}_logits"]
        inside = 1 / (1 + np.exp(-wanted.astype(np.float64)))
        [(kept, view)] = found.probabilities[1]
        assert isinstance(view.tiling, ZoomTiling)
        region = view.tiling.start, view.tiling.shape
        ends = [min(last + 1, n) for last, n in zip(run.roi[3:], image.shape, strict=True)]
        assert region == (run.roi[:3], tuple(b - a for a, b in zip(run.roi[:3], ends, strict=True)))
        at = tuple(slice(a, b) for a, b in zip(run.roi[:3], ends, strict=True))
        lead = [a - round(s) for a, s in zip(run.roi[:3], view.start, strict=True)]
        own = tuple(slice(a, a + s.stop - s.start) for a, s in zip(lead, at, strict=True))
        np.testing.assert_allclose(np.asarray(kept)[own], inside[at], atol=2e-6)
        np.testing.assert_array_equal(found.labels > 0, inside.astype(np.float32) > 0.5)
        whole = arrays[f"{run.name}_zoomout_logits"].astype(np.float32)
        sure = np.abs(whole) > 0.01  # recorded in float16
        np.testing.assert_array_equal((saved.maps[0] > 0)[sure], (whole > 0)[sure])


def test_regions_of_given_blocks(shared: Path) -> None:
    cases = [case for case in json.loads((shared / FOLDER / "roi_cases.json").read_text()) if "shape" in case]
    assert cases
    for case in cases:
        sides = zip(case["lo"], case["hi"], case["spatial_size"], case["shape"], strict=True)
        mine = [grow((lo, hi), window, n) for lo, hi, window, n in sides]
        firsts, lasts = case["roi"][:3], case["roi"][3:]
        stops = [min(last + 1, n) for last, n in zip(lasts, case["shape"], strict=True)]
        assert mine == list(zip(firsts, stops, strict=True))


def test_preprocessing_is_as_recorded(shared: Path) -> None:
    with np.load(shared / FOLDER / "preprocess.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    numbers = [name.removesuffix("_ct") for name in arrays if name.endswith("_ct")]
    assert numbers
    for number in numbers:
        volume = arrays[f"{number}_ct"].swapaxes(0, 2)
        seen = look_at(volume)
        at = tuple(slice(a, a + n) for a, n in zip(seen.start, seen.shape, strict=True))
        grey = seen.grey(volume[at])
        np.testing.assert_allclose(grey, arrays[f"{number}_image"][0], atol=1e-6)
        label = arrays[f"{number}_label"].swapaxes(0, 2)[at]
        np.testing.assert_array_equal(label, arrays[f"{number}_label_out"][0])
        for mine, name, close in ((grey, "image", 1e-6), (label, "label", 0)):
            whole = arrays[f"{number}_zoomout_{name}"][0]
            taken = np.ix_(*(nearest_exact(m, n) for m, n in zip(whole.shape, mine.shape, strict=True)))
            np.testing.assert_allclose(mine[taken], whole, atol=close)
