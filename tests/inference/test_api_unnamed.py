"""Calls from Python without sentences, or with some left out."""

from typing import Any

import numpy as np
import pytest

from tests.inference.fake_models import Bright, dice, made_image, make_model
from vesal.inference.api import Model
from vesal.inference.data.errors import BoxError, PromptError, PromptTextError

SPACING = (2.0, 1.0, 1.0)
LIVER = (slice(4, 14), slice(4, 14), slice(4, 14))
SPLEEN = (slice(18, 26), slice(18, 28), slice(6, 16))


@pytest.fixture
def image() -> np.ndarray:
    """(32, 32, 32) uint8 with a liver and a spleen."""
    return made_image((32,) * 3, (LIVER, 200), (SPLEEN, 120))


@pytest.fixture
def model() -> Model:
    """It knows no two targets of one brightness: no mark could tell them apart."""
    return make_model(Bright(), targets=[("liver", None, "CT"), ("spleen", None, "CT")])


BOX, IN_SPLEEN = (4, 4, 4, 14, 14, 14), (20, 20, 10)
SPLEEN_BOX = (18, 18, 6, 26, 28, 16)


@pytest.mark.parametrize(
    ("given", "ids", "target"),
    [
        ({"prompts": None, "boxes": {3: [BOX], 1: SPLEEN_BOX}}, [1, 3], "liver"),
        ({"prompts": [], "points": {2: IN_SPLEEN}}, [2], "spleen"),
        ({"prompts": {}, "boxes": [SPLEEN_BOX, BOX]}, [1, 2], "liver"),
        ({"boxes": BOX, "points": [IN_SPLEEN]}, [1], "liver"),
        ({"points": {1: {"fg": [IN_SPLEEN], "bg": []}}, "boxes": [None, BOX]}, [1, 2], "liver"),
        ({"mask": np.full((32, 32, 32), 5, np.uint8)}, [5], None),
        ({"prompts": {"instance_label": 1}, "boxes": [BOX]}, [1], "liver"),
    ],
)
def test_without_sentences_the_ids_are_those_of_what_is_marked(
    model: Model, image: np.ndarray, given: dict[str, Any], ids: list[int], target: str | None
) -> None:
    """A mark that agrees with nothing that the weights know stays without a name."""
    result = model.segment(image, SPACING, modality="CT", **given)
    assert [prompt.id for prompt in result.prompts] == ids
    last = result.prompts[ids[-1]]
    assert last.text == "" and (last.target, last.covered) == (target, target is not None)
    assert result.mask(ids[0]).shape == image.shape


def test_a_sentence_may_be_left_out_for_what_is_marked(model: Model, image: np.ndarray) -> None:
    result = model.segment(image, SPACING, ["liver", None, "spleen"], modality="CT", boxes={2: [BOX]})
    assert [(p.id, p.text) for p in result.prompts] == [(1, "liver"), (2, ""), (3, "spleen")]
    assert result.prompts[1].target == "liver" and dice(result.labels == 3, image == 120) > 0.9
    with pytest.raises(PromptTextError):
        model.segment(image, SPACING, ["liver", None], modality="CT", boxes={1: [BOX]})


def test_a_class_whose_only_box_is_wrong_stays_empty(model: Model, image: np.ndarray) -> None:
    result = model.segment(image, SPACING, modality="CT", boxes={1: [BOX], 2: [(90, 0, 0, 95, 5, 5)]})
    assert result.prompts[1].target == "liver" and result.prompts[2].voxels == 0
    assert "(mask, boxes, points) says where it is" in result.prompts[2].why
    assert "boxes, prompt 2: the box from (90, 0, 0)" in result.report["fallbacks"][0]


def test_a_mask_that_no_target_agrees_with_well_enough_is_told_so(model: Model, image: np.ndarray) -> None:
    mask = np.zeros(image.shape, np.uint8)
    mask[2:16, 2:16, 2:30] = 4
    told = model.segment(image, SPACING, modality="CT", mask=mask).prompts[4]
    best = told.candidates[0]
    assert best.target == "liver" and 0 < best.score < 0.5
    assert f"agrees well enough with what was marked: liver {best.score:g}; 0.5 is wanted; " in told.why
    assert told.why.endswith("what the user's mask has of it is kept") and told.voxels


def test_an_id_that_no_prompt_can_have_costs_the_others_nothing(model: Model, image: np.ndarray) -> None:
    result = model.segment(
        image, SPACING, modality="CT", boxes={0: [BOX], 1: [BOX]}, points={70000: IN_SPLEEN}
    )
    assert [prompt.id for prompt in result.prompts] == [1] and result.prompts[1].target == "liver"
    box, point = result.report["fallbacks"]
    assert "boxes: prompt id 0 lies outside 1 to 65535" in box
    assert "points: prompt id 70000 lies outside 1 to 65535" in point
    with pytest.raises(BoxError, match="prompt id 0 lies outside"):
        model.segment(image, SPACING, modality="CT", boxes={0: [BOX]})


def test_nothing_at_all_is_no_prompt(model: Model, image: np.ndarray) -> None:
    with pytest.raises(PromptError, match="prompts is None; .* or none, with a mask, boxes or points"):
        model.segment(image, SPACING)
    with pytest.raises(BoxError, match="'liver' is not a whole number"):
        model.segment(image, SPACING, boxes={"liver": [BOX]})
