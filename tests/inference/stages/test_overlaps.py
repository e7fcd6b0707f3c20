"""Prompts of which one lies in the other, with probabilities that say so."""

from dataclasses import replace

import numpy as np
import pytest

from vesal.inference.data.orientation import Orientation
from vesal.inference.data.prompt import Prompt, Target
from vesal.inference.data.results import PromptResult
from vesal.inference.geometry.views import View
from vesal.inference.stages.classes import ClassMasks
from vesal.inference.stages.kept_class import KeptClass
from vesal.inference.stages.overlaps import let_smaller_win
from vesal.inference.stages.prompt_results import said_of_lost
from vesal.inference.stages.segmentation import Segmentation

SHAPE = (8, 10, 12)
ORGAN, TUMOR = (slice(1, 7), slice(1, 8), slice(1, 11)), (slice(2, 4), slice(3, 6), slice(4, 7))
BESIDE = (slice(1, 7), slice(7, 10), slice(1, 11))


def prompt(id_: int, name: str) -> Prompt:
    return Prompt(id_, name, "CT", (Target(name),), "term", None, "")


def found(probabilities: dict[int, np.ndarray]) -> Segmentation:
    """As a case leaves it: the larger probability has the voxel."""
    stack = np.stack([np.full(SHAPE, 0.5, np.float32), *probabilities.values()])
    labels = np.array([0, *probabilities], np.uint8)[stack.argmax(axis=0)]
    view = View((0.0,) * 3, (1.0,) * 3, SHAPE, 0, 0)

    def count() -> dict[int, PromptResult]:
        return {
            id_: PromptResult(id_, "", None, "CT", "term", "", True, int((labels == id_).sum()), 1.0, 0.9)
            for id_ in probabilities
        }

    kept = {id_: [(KeptClass(lambda v=values: v), view)] for id_, values in probabilities.items()}
    masks = ClassMasks(labels, {id_: (id_,) for id_ in probabilities})
    return Segmentation(labels, count, [], [], [], probabilities=kept, classes=masks)


def sure(box: tuple[slice, ...], of: float) -> np.ndarray:
    values = np.full(SHAPE, 0.1, np.float32)
    values[box] = of
    return values


def mask(box: tuple[slice, ...]) -> np.ndarray:
    out = np.zeros(SHAPE, bool)
    out[box] = True
    return out


@pytest.mark.parametrize("tumor_first", [False, True])
def test_a_tumor_wins_in_its_organ_and_both_keep_their_masks(tumor_first: bool) -> None:
    """Though the organ is surer of itself; the report says who lost what."""
    organ, tumor = (2, 1) if tumor_first else (1, 2)
    prompts = [prompt(organ, "liver"), prompt(tumor, "liver tumor")]
    case = found({organ: sure(ORGAN, 0.9), tumor: sure(TUMOR, 0.7)})
    assert not (case.labels == tumor).any()

    result = let_smaller_win(case, prompts, 0.5, 0.01)

    np.testing.assert_array_equal(result.labels == tumor, mask(TUMOR))
    np.testing.assert_array_equal(result.labels == organ, mask(ORGAN) & ~mask(TUMOR))
    np.testing.assert_array_equal(result.mask(organ), mask(ORGAN))
    np.testing.assert_array_equal(result.mask(tumor), mask(TUMOR))
    lost = int(mask(TUMOR).sum())
    assert result.prompts[organ].lost_to == {tumor: lost} and result.prompts[tumor].lost_to == {}
    assert result.prompts[tumor].voxels == lost
    assert result.prompts[tumor].volume_ml == pytest.approx(lost * 0.01)
    assert result.prompts[tumor].mean_probability == pytest.approx(0.7)
    kept, whole = int((mask(ORGAN) & ~mask(TUMOR)).sum()), int(mask(ORGAN).sum())
    assert f"of its {whole} voxels {kept} have its id" in result.prompts[organ].why
    assert f"written are {lost} as prompt {tumor} (liver tumor)" in result.prompts[organ].why
    assert "lies in" in result.notes[0]


def test_the_reason_tells_one_count() -> None:
    """Of the label map as it is written: what was counted before the smaller one won is no longer there."""
    case = found({1: sure(ORGAN, 0.9), 2: sure(TUMOR, 0.7), 3: sure(BESIDE, 0.9)})
    prompts = [prompt(1, "kidney"), prompt(2, "kidney tumor"), prompt(3, "left kidney")]

    def count() -> dict[int, PromptResult]:
        results, lost = case.count(), {3: 7}
        why = "in the vocabulary" + said_of_lost(lost, results[1].voxels or 0, prompts)
        return results | {1: replace(results[1], why=why, lost_to=lost)}

    result = let_smaller_win(replace(case, count=count), prompts, 0.5, 1.0).prompts[1]
    assert result.why.startswith("in the vocabulary; of its ") and result.why.count("voxels") == 1
    numbers = [int(word) for word in result.why.split() if word.isdecimal()]
    assert numbers[:2] == [result.voxels + sum(result.lost_to.values()), result.voxels]


def test_three_one_in_the_other() -> None:
    core = (slice(2, 3), slice(3, 4), slice(4, 6))
    case = found({1: sure(core, 0.6), 2: sure(ORGAN, 0.9), 3: sure(TUMOR, 0.7)})
    prompts = [prompt(1, "necrotic tumor core"), prompt(2, "liver"), prompt(3, "liver tumor")]
    result = let_smaller_win(case, prompts, 0.5, 1.0)
    np.testing.assert_array_equal(result.labels == 1, mask(core))
    np.testing.assert_array_equal(result.labels == 3, mask(TUMOR) & ~mask(core))
    np.testing.assert_array_equal(result.mask(3), mask(TUMOR))
    assert result.prompts[2].lost_to == {1: 2, 3: int(mask(TUMOR).sum()) - 2}


@pytest.mark.parametrize("first", [0.6, 0.9])
def test_neighbours_share_by_probability(first: float) -> None:
    """They overlap in a plane: the smaller one gets none of it by that."""
    case = found({1: sure(ORGAN, first), 2: sure(BESIDE, 0.7)})
    result = let_smaller_win(case, [prompt(1, "liver"), prompt(2, "stomach")], 0.5, 1.0)
    assert result is case


def test_what_is_shared_out_before_stays() -> None:
    """ "kidneys" and "left kidney" have a class in common."""
    case = found({1: sure(ORGAN, 0.9), 2: sure(TUMOR, 0.7)})
    assert case.classes is not None
    common = replace(case, classes=ClassMasks(case.labels, {1: (1, 2), 2: (2,)}))
    assert let_smaller_win(common, [prompt(1, "kidney"), prompt(2, "left kidney")], 0.5, 1.0) is common


def test_a_case_that_was_turned() -> None:
    """Labels lie as the volume came, probabilities as the network saw it."""
    turn = Orientation((0, 1, 2), (0, 2))
    case = found({1: sure(ORGAN, 0.9), 2: sure(TUMOR, 0.7)})
    turned = Segmentation(
        turn.back(case.labels), case.count, [], [], [], case.probabilities, turn, classes=case.classes
    )
    result = let_smaller_win(turned, [prompt(1, "liver"), prompt(2, "liver tumor")], 0.5, 1.0)
    np.testing.assert_array_equal(result.labels == 2, turn.back(mask(TUMOR)))
