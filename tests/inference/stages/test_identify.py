"""What did the user mark? Candidates for prompts without a sentence, with networks of known answers."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.inference.fake_models import BANK, Bright, Saved, made_image, make_case, make_profile, make_prompt
from vesal.inference.data.prompt import Prompt
from vesal.inference.data.user_prompts import Point, UserMask, UserPrompts, VoxelBox
from vesal.inference.engine import Engine
from vesal.inference.families.contract import Capabilities
from vesal.inference.families.nano import NanoModel
from vesal.inference.planning.plan import Plan, make_plan, open_sentence
from vesal.inference.planning.rules import IdentificationRule, StageRule
from vesal.inference.stages.identify import raised_beside
from vesal.inference.stages.segmentation import Segmentation
from vesal.inference.timing.clock import Clock

SHAPE = (32, 32, 32)
LIVER, SPLEEN = (slice(4, 14),) * 3, (slice(18, 28),) * 3
IMAGE = made_image(SHAPE, (LIVER, 200), (SPLEEN, 120))
BOX = UserPrompts(boxes={1: (VoxelBox((18, 18, 18), (28, 28, 28)),)})
CLICK = UserPrompts(points={1: (Point((22, 22, 22), True),)})


def unnamed(id_: int = 1) -> Prompt:
    return make_prompt(id_, None, text="", why="there is no sentence")


def mask() -> UserPrompts:
    labels = np.zeros(SHAPE, np.uint16)
    labels[SPLEEN] = 1
    return UserPrompts(UserMask(labels, (1,), "here"))


def segment(
    user: UserPrompts,
    model: Any = None,
    now: float = 0.0,
    least: float = 0.5,
    prompts: tuple[Prompt, ...] = (unnamed(),),
    margin: float = 0.03,
    names: tuple[str, ...] = ("liver", "spleen"),
    image: np.ndarray = IMAGE,
    **rules: Any,
) -> Segmentation:
    profile = make_profile(targets=[(name, None, "CT") for name in names], **rules)
    profile = replace(profile, identification=IdentificationRule(least, margin))
    family = (model or NanoModel)({i: Bright() for i in range(3)}, BANK, profile)
    engine = Engine(profile, SimpleNamespace(name="fake"), family)
    case = replace(make_case(image, prompts), user=user)
    return engine.segment(case, prompts, Clock(600.0, 0.0, lambda: now), Saved())


@pytest.mark.parametrize("user", [BOX, CLICK, mask()], ids=["box", "click", "mask"])
def test_the_target_that_was_marked_is_found_named_and_segmented(user: UserPrompts) -> None:
    result = segment(user)
    told = result.prompts[1]
    assert told.target == "spleen" and told.candidates[0].target == "spleen"
    assert told.candidates[0].score > 0.9 and told.found_by == "marks"
    assert (result.labels[SPLEEN] == 1).mean() > 0.95 and not result.labels[LIVER].any()


def test_below_the_threshold_it_is_run_and_not_named() -> None:
    loose = UserPrompts(boxes={1: (VoxelBox((14, 14, 14), (32, 32, 32)),)})
    result = segment(loose, least=0.9)
    told = result.prompts[1]
    assert told.target is None and told.candidates[0].target == "spleen"
    assert 0 < told.candidates[0].score < 0.9 and "not called so" in told.why
    assert (result.labels[SPLEEN] == 1).all()


def test_a_score_is_a_plain_number() -> None:
    for user in (BOX, CLICK, mask()):
        assert all(type(each.score) is float for each in segment(user).prompts[1].candidates)


def test_weights_that_know_nothing_in_the_modality_give_no_candidates() -> None:
    assert segment(BOX, names=()).prompts[1].candidates == ()


def test_a_candidate_that_is_hardly_better_than_the_next_is_run_and_not_named() -> None:
    """A brightness between those of two targets, a little nearer to one of them."""
    image = made_image(SHAPE, (SPLEEN, 142))
    for margin, name in ((0.01, "kidney"), (0.5, None)):
        told = segment(CLICK, image=image, names=("spleen", "kidney"), margin=margin, least=0.2).prompts[1]
        assert [each.target for each in told.candidates] == ["kidney", "spleen"]
        assert told.target == name and ("which is too near to tell" in told.why) == (name is None)


def test_two_marks_on_one_thing_are_not_both_called_by_its_name() -> None:
    """Nothing else is known there, so both are run as it."""
    part = VoxelBox((18, 18, 18), (28, 28, 26))
    told = segment(UserPrompts(boxes={1: BOX.boxes[1], 2: (part,)}), prompts=(unnamed(1), unnamed(2))).prompts
    assert [told[i].candidates[0].target for i in (1, 2)] == ["spleen", "spleen"]
    assert told[1].target == "spleen" and told[2].target is None
    assert "what marks class 1 agrees better" in told[2].why


def test_marks_where_nothing_known_is_leave_it_refused() -> None:
    result = segment(UserPrompts(boxes={1: (VoxelBox((0, 20, 20), (3, 24, 24)),)}))
    assert not result.labels.any() and not result.prompts[1].candidates
    assert result.prompts[1].covered is False


def test_two_marks_are_told_apart_in_one_pass() -> None:
    both = UserPrompts(boxes={1: BOX.boxes[1], 2: (VoxelBox((4, 4, 4), (14, 14, 14)),)})
    result = segment(both, prompts=(unnamed(1), unnamed(2)))
    assert [result.prompts[i].target for i in (1, 2)] == ["spleen", "liver"]
    assert (result.labels[SPLEEN] == 1).all() and (result.labels[LIVER] == 2).all()


def test_background_points_speak_against_a_candidate() -> None:
    marks = (Point((22, 22, 22), True), Point((8, 8, 8), False))
    assert segment(UserPrompts(points={1: marks})).prompts[1].target == "spleen"
    against = (Point((22, 22, 22), False), Point((21, 22, 22), True))
    assert segment(UserPrompts(points={1: against})).prompts[1].target is None


@pytest.mark.parametrize("inside", [True, False])
def test_a_click_beside_a_box_does_not_take_its_name(inside: bool) -> None:
    """Clicks of the interactive track lie where the result before was wrong."""
    click = Point((1, 1, 1), True) if inside else Point((22, 22, 22), False)
    told = segment(UserPrompts(boxes=BOX.boxes, points={1: (click,)})).prompts[1]
    assert told.target == "spleen" and told.candidates[0].score >= 0.8


def test_when_time_is_short_nothing_is_searched_and_it_is_told() -> None:
    result = segment(BOX, now=599.999)
    assert not result.prompts[1].candidates
    assert any("not found out what" in note for note in result.notes)


def test_a_sentence_is_left_as_it_is() -> None:
    result = segment(BOX, prompts=(make_prompt(1, "spleen"),))
    assert result.prompts[1].candidates == () and result.prompts[1].found_by == "term"


def test_without_a_locating_stage_the_whole_run_is_compared() -> None:
    assert segment(BOX, coarse=StageRule(32**3, skip=True)).prompts[1].target == "spleen"


class Spatial(NanoModel):
    """Runs a prompt without a name by its box alone: as what is as bright as the spleen."""

    @property
    def capabilities(self) -> Capabilities:
        return replace(super().capabilities, unnamed=True)

    def plan(self, prompts: Any, profile: Any, case: Any) -> Plan:
        def understands(prompt: Prompt) -> Any:
            return open_sentence(prompt) if prompt.unnamed else self.understands(prompt)

        return make_plan(prompts, profile, understands)

    def encode_prompts(self, queries: Any) -> Any:
        return super().encode_prompts([replace(q, concept=q.concept or "spleen") for q in queries])


def test_a_family_that_needs_no_name_runs_it_and_compares_its_own_result() -> None:
    result = segment(BOX, Spatial)
    told = result.prompts[1]
    assert (told.target, told.asked_as) == ("spleen", "user prompts")
    assert told.candidates[0].score > 0.9 and (result.labels[SPLEEN] == 1).all()


def test_what_is_seen_together_with_another_mark_counts_more() -> None:
    targets = ["anterior hippocampus", "posterior hippocampus", "spinal cord"]
    scores = np.array([[0.6, 0.0, 0.7], [0.0, 0.4, 0.0]])
    pair = [("anterior hippocampus", "posterior hippocampus")]
    raised = raised_beside(scores, targets, pair)
    np.testing.assert_allclose(raised, [[0.78, 0.0, 0.7], [0.0, 0.4, 0.0]])
    np.testing.assert_array_equal(raised_beside(scores[:1], targets, pair), scores[:1])
    np.testing.assert_array_equal(raised_beside(scores, targets, ()), scores)
    np.testing.assert_array_equal(raised_beside(scores[[1, 1]], targets, pair), scores[[1, 1]])
    assert raised_beside(np.array([[0.9, 0, 0], [0, 0.9, 0]]), targets, pair).max() == 1.0
