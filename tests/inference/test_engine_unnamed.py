"""Prompts without a sentence: run by families that can, else refused with a reason; a user's mask is kept."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.inference.fake_models import made_image, make_case, make_engine, make_prompt
from vesal.inference.data.orientation import Orientation
from vesal.inference.data.prompt import Prompt
from vesal.inference.data.results import Candidate
from vesal.inference.data.user_prompts import Point, UserMask, UserPrompts, VoxelBox
from vesal.inference.families.contract import Capabilities
from vesal.inference.prompts.parser import parse_prompts
from vesal.inference.stages.identify import Identified
from vesal.inference.stages.segmentation import Segmentation
from vesal.inference.stages.unnamed import KeptMask, Names, runnable
from vesal.inference.timing.clock import Clock

LIVER, OTHER = (slice(4, 14),) * 3, (slice(18, 28),) * 3
IMAGE = made_image((32, 32, 32), (LIVER, 200), (OTHER, 90))
BOX = VoxelBox((18, 18, 18), (28, 28, 28))


def unnamed(id_: int, **changes: Any) -> Prompt:
    return make_prompt(id_, None, text="", why="there is no sentence", **changes)


def mask(*ids: int) -> UserMask:
    labels = np.zeros(IMAGE.shape, np.uint16)
    labels[OTHER], labels[LIVER] = ids[0], ids[-1]
    return UserMask(labels, tuple(sorted(set(ids))), "here")


def segment(prompts: list[Prompt], user: UserPrompts, **case: Any) -> tuple[Segmentation, list[np.ndarray]]:
    saved: list[np.ndarray] = []
    still = Clock(600.0, 0.0, lambda: 0.0)
    made = replace(make_case(IMAGE, prompts, **case), user=user)
    engine = make_engine()
    engine.identify = lambda asked, *_: Identified(tuple(asked))  # finds no name
    return engine.segment(made, prompts, still, saved.append), saved


def test_a_prompt_without_a_sentence_has_no_target_and_no_guess_is_made() -> None:
    def encoder() -> Any:
        raise AssertionError("nothing to encode")

    (prompt,), _ = parse_prompts({3: ""}, name="a", image=IMAGE, encoder=encoder)
    assert prompt.unnamed and not prompt.targets
    assert (prompt.name, prompt.target, prompt.found_by) == ("class 3", None, "none")


@pytest.mark.parametrize(
    ("user", "why"),
    [
        (UserPrompts(boxes={2: (BOX,)}), "no target that the weights fakes know agrees with what was marked"),
        (UserPrompts(), "nothing that the weights fakes take (mask, boxes, points) says where it is"),
    ],
)
def test_a_family_that_goes_by_names_refuses_it_and_runs_the_others(user: UserPrompts, why: str) -> None:
    result, _ = segment([make_prompt(1, "liver"), unnamed(2)], user)
    assert (result.labels[LIVER] == 1).all() and set(np.unique(result.labels)) == {0, 1}
    refused = result.prompts[2]
    assert refused.covered is False
    assert refused.why == f"there is no sentence, and {why}"


NOTHING_TAKEN = Capabilities()
DRAWN = Capabilities(mask=True)
FOUND = Names({2: (Candidate("liver", 0.312), Candidate("spleen", 0.1))}, 0.5)


@pytest.mark.parametrize(
    ("can", "boxes", "names", "why"),
    [
        (NOTHING_TAKEN, {}, Names(), "the weights w find things by their names only"),
        (DRAWN, {}, FOUND, "nothing that the weights w take (mask, boxes, points) says where it is"),
        (DRAWN, {2: (BOX,)}, Names(), "no target that the weights w know agrees with what was marked"),
        (
            DRAWN,
            {2: (BOX,)},
            FOUND,
            "no target that the weights w know agrees well enough with what was marked: liver 0.312, "
            "spleen 0.1; 0.5 is wanted",
        ),
        (DRAWN, {2: (BOX,)}, Names(late="time ran short"), "time ran short"),
    ],
)
def test_why_one_without_a_sentence_is_not_run(
    can: Capabilities, boxes: dict[int, Any], names: Names, why: str
) -> None:
    _, refused = runnable([unnamed(2)], UserPrompts(boxes=boxes), can, "w", names=names)
    assert refused == {2: f"there is no sentence, and {why}"}


def test_one_that_was_given_a_target_is_run_by_it() -> None:
    given = replace(unnamed(2), targets=make_prompt(2, "liver").targets)
    result, _ = segment([given], UserPrompts(boxes={2: (VoxelBox((4, 4, 4), (14, 14, 14)),)}))
    assert result.prompts[2].covered and (result.labels[LIVER] == 2).all()


def test_the_mask_of_one_that_is_not_run_is_kept_where_nobody_else_is() -> None:
    user = UserPrompts(mask(2, 2))
    result, saved = segment([make_prompt(1, "liver"), unnamed(2)], user)
    assert (result.labels[LIVER] == 1).all() and (result.labels[OTHER] == 2).all()
    assert all((each[OTHER] == 2).all() for each in saved) and saved
    told = result.prompts[2]
    assert (told.voxels, told.volume_ml) == (1000, 1.0)
    assert told.why.endswith("; what the user's mask has of it is kept")
    assert np.array_equal(result.mask(2), result.labels == 2)
    assert result.prompts[1].voxels == 1000


def test_the_mask_of_a_prompt_with_a_sentence_is_not_kept() -> None:
    result, _ = segment([make_prompt(1, "pancreas")], UserPrompts(mask(1)))
    assert not result.labels.any()


def test_where_objects_are_wanted_no_mask_is_kept() -> None:
    result, _ = segment([unnamed(1)], UserPrompts(mask(1)), instance=True)
    assert not result.labels.any() and "kept" not in result.prompts[1].why


BOXES = Capabilities(boxes=True, points=True, unnamed=True)


@pytest.mark.parametrize(
    ("user", "runs"),
    [
        (UserPrompts(boxes={2: (BOX,)}), True),
        (UserPrompts(points={2: (Point((1, 1, 1), True),)}), True),
        (UserPrompts(points={2: (Point((1, 1, 1), False),)}), False),
        (UserPrompts(boxes={1: (BOX,)}), False),
        (UserPrompts(mask(2)), True),
        (UserPrompts(), False),
    ],
)
def test_something_has_to_say_where_it_is(user: UserPrompts, runs: bool) -> None:
    prompts = [make_prompt(1, "liver"), unnamed(2)]
    asked, refused = runnable(prompts, user, BOXES, "w")
    assert [prompt.id for prompt in asked] == ([1, 2] if runs else [1])
    assert runs or refused[2].endswith("nothing that the weights w take (boxes, points) says where it is")


def test_what_is_kept_is_turned_as_the_result_is() -> None:
    labels = np.zeros((2, 3, 4), np.uint16)
    labels[0, 0, 1] = 2
    kept = KeptMask(UserMask(labels, (2,), "here"))
    turned = Orientation(reversed=(2,))
    assert kept.added(np.zeros((2, 3, 4), np.uint16), turned)[0, 0, 2] == 2
    assert np.array_equal(kept.added(np.zeros((2, 3, 4), np.uint16)), labels)
