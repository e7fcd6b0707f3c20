"""The hybrid mode: a user's mask reaches the network as spatial prompt, in the stage that was asked for."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.inference.fake_models import (
    BANK,
    Bright,
    Constant,
    Saved,
    dice,
    made_image,
    make_case,
    make_profile,
    make_prompt,
)
from tests.inference.fakes import Opener, write_case
from vesal.inference.data.prompt import Query
from vesal.inference.data.user_prompts import UserMask, UserPrompts
from vesal.inference.engine import Engine
from vesal.inference.families.nano import NanoModel
from vesal.inference.geometry.views import Box, whole
from vesal.inference.planning.profile import Profile
from vesal.inference.planning.rules import StageRule
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings
from vesal.inference.stages.spatial_prompt import MaskPrompt, split_by_mask, union_box
from vesal.inference.stages.view_pass import ViewPass
from vesal.inference.stages.view_task import ViewTask, Volume
from vesal.inference.timing.clock import Clock
from vesal.inference.timing.forecast import Forecast
from vesal.inference.timing.ladder import Effort, FineScope, Ladder, PlannedStage

SHAPE = (24, 32, 32)
TRUTH = (slice(8, 16), slice(10, 20), slice(4, 14))
MASK = np.zeros(SHAPE, np.uint16)
MASK[TRUTH] = 1
LIVER, SPLEEN = make_prompt(1, "liver"), make_prompt(2, "spleen")
SPLEEN_AT = (slice(2, 6), slice(22, 30), slice(20, 30))


class Echo:
    """Answers with its spatial prompt; keeps what it was asked."""

    def __init__(self) -> None:
        self.calls: list[dict[str, np.ndarray]] = []

    def __call__(self, inputs):
        self.calls.append(inputs)
        return {"probability": inputs["prompt"], "presence": np.ones(inputs["prompt"].shape[:3], np.float32)}

    def prompted(self) -> list[bool]:
        """Which calls had a spatial prompt."""
        return [bool(call["prompt"].any()) for call in self.calls]


def segment(graph, prompts, mask, hybrid=None, image=None, **rules):
    """Run one case with a mask (D,H,W) or None, without a limit of time."""
    profile = make_profile(**rules)
    model = NanoModel({0: graph, 1: graph, 2: graph}, BANK, profile)
    engine = Engine(profile, SimpleNamespace(name="fake"), model, hybrid)
    case = make_case(made_image(SHAPE) if image is None else image, prompts)
    if mask is not None:
        ids = tuple(int(i) for i in np.unique(mask) if i)
        case = replace(case, user=UserPrompts(UserMask(mask, ids, "here")))
    return engine.segment(case, prompts, Clock(600.0, 0.0, lambda: 0.0), Saved())


def test_the_fine_stage_takes_it_unless_asked_otherwise():
    echo = Echo()
    result = segment(echo, [LIVER], MASK)
    assert echo.prompted() == [False, True]
    assert dice(result.labels == 1, MASK == 1) > 0.9
    assert result.stages[1].why.startswith("the box of what the user marked grown 1.2 times")


def test_the_coarse_stage_takes_it_when_asked():
    echo = Echo()
    result = segment(echo, [LIVER], MASK, "coarse", fine=StageRule(32**3, skip=True))
    assert echo.prompted() == [True]
    assert "user's mask" in result.stages[0].why
    assert dice(result.labels == 1, MASK == 1) > 0.9


def test_what_the_coarse_stage_made_of_it_goes_on_to_the_fine_one():
    echo = Echo()
    segment(echo, [LIVER], MASK, "coarse")
    assert echo.prompted() == [True, True]


def test_weights_that_take_no_masks_say_so():
    echo = Echo()
    result = segment(echo, [LIVER], MASK, "off")
    assert not result.labels.any() and not any(echo.prompted())
    assert any("take none" in told for told in result.fallbacks)
    assert not segment(echo, [LIVER], None, "off").fallbacks


@pytest.mark.parametrize(("hybrid", "skipped"), [("coarse", "coarse"), ("fine", "fine")])
def test_without_the_stage_that_was_asked_for_the_other_takes_it(hybrid, skipped):
    result = segment(Echo(), [LIVER], MASK, hybrid, **{skipped: StageRule(32**3, skip=True)})
    assert dice(result.labels == 1, MASK == 1) > 0.9


def test_without_a_mask_nothing_is_different():
    image = made_image(SHAPE, (TRUTH, 200))
    plain = segment(Bright(), [LIVER], None, image=image)
    for hybrid in ("coarse", "fine", "off"):
        assert np.array_equal(segment(Bright(), [LIVER], None, hybrid, image=image).labels, plain.labels)


@pytest.mark.parametrize("hybrid", ["coarse", "fine"])
def test_prompts_without_a_mask_are_asked_as_if_there_were_none(hybrid):
    image = made_image(SHAPE, (TRUTH, 200), (SPLEEN_AT, 120))
    rules = {"fine": StageRule(32**3, margin_factor=1.2, max_targets_per_view=1)}
    plain, masked = Bright(), Bright()
    without = segment(plain, [LIVER, SPLEEN], None, image=image, **rules)
    overlay_mask = segment(masked, [LIVER, SPLEEN], MASK, hybrid, image=image, **rules)
    assert np.array_equal(without.labels == 2, overlay_mask.labels == 2)
    assert (overlay_mask.labels == 2)[SPLEEN_AT].all()

    def of_spleen(calls):
        rows = [(c, list(c["text"][0, :, 0]).index(120)) for c in calls if 120 in c["text"]]
        return [c["prompt"][0, row] for c, row in rows]

    for a, b in zip(of_spleen(plain.calls), of_spleen(masked.calls), strict=True):
        assert np.array_equal(a, b)


def test_each_prompt_gets_its_own_mask():
    both = MASK.copy()
    both[SPLEEN_AT] = 2
    result = segment(Echo(), [LIVER, SPLEEN], both)
    assert dice(result.labels == 1, both == 1) > 0.85
    assert dice(result.labels == 2, both == 2) > 0.85


def test_the_region_holds_the_mask_and_what_was_found():
    a, b = Box((1, 2, 3), (4, 5, 6)), Box((0, 3, 3), (2, 9, 5))
    assert union_box(a, None) == a
    assert union_box(a, b) == Box((0, 2, 3), (4, 9, 6))


def test_a_stroke_in_one_slice_does_not_hide_the_target():
    image = made_image(SHAPE, (TRUTH, 200))
    stroke = np.zeros(SHAPE, np.uint16)
    stroke[12, 14, 6:10] = 1
    result = segment(Bright(), [LIVER], stroke, image=image)
    assert dice(result.labels == 1, image == 200) > 0.9


def test_runs_keep_the_order():
    def query(id_):
        return Query(id_, str(id_), "liver", None, "CT", "organ")

    queries = [query(i) for i in (1, 2, 2, 1, 1)]
    mask = MaskPrompt(MASK, (1,), "here")
    assert split_by_mask(queries, mask, 16) == [[0], [1, 2], [3, 4]]
    assert [len(r) for r in split_by_mask(queries, None, 2)] == [2, 2, 1]
    assert split_by_mask([], mask, 2) == []


class Watched(Opener):
    """The fake engine; keeps the masks of its cases."""

    def __init__(self) -> None:
        super().__init__()
        self.masks: list[UserMask | None] = []
        inner = self.model.segment_case

        def segment_case(case, *rest, **more):
            self.masks.append(case.user.mask)
            return inner(case, *rest, **more)

        self.model.segment_case = segment_case


def run_with(folder: Path, prev_pred: np.ndarray, **settings) -> tuple[Watched, int, dict]:
    """One case through the loop: the opener, the exit code and the case's report."""
    path = write_case(folder / "a.npz")
    with np.load(path, allow_pickle=True) as archive:
        np.savez(path, **archive, prev_pred=prev_pred)
    opener = Watched()
    code = run(Settings(path, folder / "out", **settings), opener, now=lambda: 0.0)
    return opener, code, json.loads((folder / "report.json").read_text())["cases"][0]


SMALL = np.zeros((6, 7, 8), np.uint8)
SMALL[2:4, 2:4, 2:4] = 1


def test_the_loop_reads_it_and_the_report_says_so(tmp_path):
    opener, code, report = run_with(tmp_path, SMALL)
    assert code == 0 and opener.masks[0].ids == (1,)
    assert any("'prev_pred'" in note for note in report["notes"])


def test_off_does_not_even_read_it(tmp_path):
    opener, code, report = run_with(tmp_path, SMALL[1:], hybrid="off")
    assert code == 0 and opener.masks == [None] and not report["notes"]


@pytest.mark.parametrize("bad", [SMALL[1:], SMALL * 0.5, SMALL * 7 + 2, SMALL.astype(object)])
def test_a_bad_mask_does_not_lose_the_case(tmp_path, bad):
    opener, code, report = run_with(tmp_path, bad)
    assert code == 1 and opener.masks == [None]
    assert report["state"] == "fell back" and report["written"] == "the labels"
    assert "user's mask is not used: Mask" in report["fallbacks"][0]


def test_the_default_weights_take_it():
    """The shipped weights themselves are run; the mask is what they are given."""
    engine = Engine.open(threads=1)
    seen: list[np.ndarray | None] = []
    network: Any = engine.model
    decode = network.decode

    def watched(encoded, prompts, spatial, user):
        seen.append(spatial)
        return decode(encoded, prompts, spatial, user)

    network.decode = watched
    image = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)
    case = replace(make_case(image, [LIVER], (3.0, 3.0, 3.0)), user=UserPrompts(UserMask(MASK, (1,), "here")))
    result = engine.segment(case, [LIVER], Clock(600.0, 0.0, lambda: 0.0), Saved())
    assert seen[0] is None and seen[-1] is not None
    assert seen[-1].max() == pytest.approx(1.0)
    assert result.labels.shape == SHAPE


def test_a_profile_says_which_stage(tmp_path):
    assert Profile.hybrid == "fine"
    profile = make_profile()
    model = NanoModel({}, BANK, profile)
    assert Engine(profile, SimpleNamespace(), model).mask_stage == "fine"
    coarse = replace(profile, hybrid="coarse")
    assert Engine(coarse, SimpleNamespace(), model).mask_stage == "coarse"
    assert Engine(coarse, SimpleNamespace(), model, "off").mask_stage == "off"


@pytest.mark.parametrize("given", [False, True])
def test_a_mask_is_no_result_where_time_runs_short(given):
    """Where only unsure windows are looked at again, a coarse result settles one; a user's mask does not."""
    rule, sure = StageRule(16**3, max_windows=8, overlap=0.0), np.ones((1, 32, 32, 32), np.float32)
    graph = Constant(0.25)
    model = NanoModel({0: graph}, BANK, make_profile())
    volume = Volume(made_image((32, 32, 32)), (1.0, 1.0, 1.0), (100.0, 50.0))
    query = Query(1, "liver", "liver", None, "CT", "organ")
    box = whole((32, 32, 32))
    prompts = model.encode_prompts([query])
    task = ViewTask(
        volume,
        model,
        [query],
        prompts,
        box,
        rule,
        first=False,
        spatial_prompt=lambda view: sure,
        from_user=given,
    )
    ladder = Ladder(Forecast(Clock(60.0, 0.0, lambda: 0.0)), [PlannedStage(rule, False)])
    ladder.effort = Effort(fine=FineScope.UNCERTAIN)
    probability = np.asarray(ViewPass(task, ladder).run()[0].probability)
    assert len(graph.calls) == (8 if given else 0)
    assert probability.max() == pytest.approx(0.25 if given else 1.0, rel=1e-3)


@pytest.mark.slow
def test_a_shifted_true_mask_helps_the_default_weights(shared, tmp_path):
    """On a real left atrium: the mask is three voxels off, and the result is better than without it."""
    name = "MR_LeftAtrium_native.npz"
    with np.load(shared / "cases" / "imgs" / name, allow_pickle=True) as archive:
        case = {key: archive[key] for key in ("imgs", "spacing", "text_prompts")}
    truth = np.load(shared / "cases" / "gts" / name)["gts"]
    found = {}
    for label, mask in {"without": None, "with": np.roll(truth, (1, 3, 3), (0, 1, 2))}.items():
        folder = tmp_path / label
        folder.mkdir()
        np.savez(folder / name, **case, **({} if mask is None else {"prev_pred": mask}))
        assert run(Settings(folder / name, folder / "out"), now=lambda: 0.0) == 0
        found[label] = dice(np.load(folder / "out" / name)["segs"] == 1, truth == 1)
    assert found["with"] > found["without"]
