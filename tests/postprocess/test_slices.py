"""Presence and overlap together: the recorded decisions, ties, and each threshold by itself."""

from pathlib import Path

import numpy as np
import pytest

from vesal.postprocess.checks import ArrayShapeError
from vesal.postprocess.merging import merge_classes
from vesal.postprocess.presence import Presence
from vesal.postprocess.slice_nms import SliceNms
from vesal.postprocess.slices import Slices, kept_slices

RECORDED = Path("fixtures") / "biomedparse_v" / "post_io.npz"


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Of logits of any shape, in float32."""
    return 1 / (1 + np.exp(-logits.astype(np.float32)))


def one_slice(*masks: list[float]) -> np.ndarray:
    """(N,1,1,n) probabilities of N targets in one slice."""
    return np.array(masks, np.float32)[:, None, None, :]


def stay(presence: list[float], *masks: list[float], **fields: object) -> list[bool]:
    """Which of N targets stay in one slice."""
    rule = Slices(**fields)
    return rule.keep(one_slice(*masks), np.array(presence, np.float32)[:, None])[:, 0].tolist()


@pytest.mark.parametrize("case", ["nms0", "nms1"])
def test_recorded_decisions_and_label_maps(case: str, shared: Path) -> None:
    with np.load(shared / RECORDED) as recorded:
        probability, presence = sigmoid(recorded[f"{case}_logits"]), sigmoid(recorded[f"{case}_exist"])
        keep = kept_slices(probability, presence, Slices())
        np.testing.assert_array_equal(keep, recorded[f"{case}_keep"] > 0)
        kept = probability * keep[:, :, None, None]
        maps = [name for name in recorded if name.startswith(f"{case}_merge_")]
        assert len(maps) >= 3
        for name in maps:
            ids = [int(part) for part in name.split("_")[2:]]
            merged = merge_classes(zip(ids, kept, strict=True))
            np.testing.assert_array_equal(merged, recorded[name], name)


@pytest.mark.parametrize("case", ["nms0", "nms1"])
def test_recorded_decisions_of_a_single_prompt(case: str, shared: Path) -> None:
    with np.load(shared / RECORDED) as recorded:
        probability, presence = (
            sigmoid(recorded[f"{case}_logits"][:1]),
            sigmoid(recorded[f"{case}_exist"][:1]),
        )
        keep = kept_slices(probability, presence, Slices())
        np.testing.assert_array_equal(keep, recorded[f"{case}_single_keep"] > 0)
        merged = merge_classes([(4, (probability * keep[:, :, None, None])[0])])
        np.testing.assert_array_equal(merged, recorded[f"{case}_single_merge"])


def test_recorded_ties_of_presence(shared: Path) -> None:
    """An existence logit of 0: two prompts keep their slice, a single one loses it."""
    with np.load(shared / RECORDED) as recorded:
        several, single = recorded["tie_nms"], recorded["tie_single"]
    presence = np.full((2, 1), 0.5, np.float32)
    kept = kept_slices(several, presence, Slices())
    assert several.any() and kept.all()
    alone = kept_slices(several[:1], presence[:1], Slices())
    np.testing.assert_array_equal(several[:1] * alone[:, :, None, None], single)


def test_the_threshold_is_enough_beside_others_and_not_alone() -> None:
    assert stay([0.5, 0.5], [0.9, 0.0], [0.0, 0.9]) == [True, True]
    assert stay([0.5], [0.9, 0.0]) == [False]
    assert stay([0.5, 0.5], [0.9, 0.0], [0.0, 0.9], at_threshold=False) == [False, False]
    assert stay([0.5], [0.9, 0.0], at_threshold_alone=True) == [True]
    below = float(np.nextafter(np.float32(0.5), np.float32(0)))
    assert stay([below, 0.9], [0.9, 0.0], [0.0, 0.9]) == [False, True]


def test_presence_and_not_the_mask_says_who_goes_first() -> None:
    """The rule `slice_nms` counts the mean probability of the mask as well."""
    masks, presence = ([0.6, 0.6, 0.6], [0.9, 0.9, 0.9]), [0.9, 0.8]
    assert stay(presence, *masks) == [True, False]
    assert SliceNms().keep(one_slice(*masks), np.array(presence)[:, None])[:, 0].tolist() == [False, True]


def test_of_equal_presence_the_first_stays() -> None:
    assert stay([0.7, 0.7, 0.7], *[[0.9, 0.9]] * 3) == [True, False, False]


def test_half_of_the_union_is_not_too_much() -> None:
    half = [0.9, 0.9, 0.9, 0.0], [0.0, 0.8, 0.8, 0.8]
    assert stay([0.9, 0.8], *half) == [True, True]
    assert stay([0.9, 0.8], *half, iou=0.49) == [True, False]


def test_what_is_dropped_drops_no_other() -> None:
    """The second overlaps both; neither a target below the threshold nor a dropped one counts."""
    chain = [1.0, 1.0, 1.0, 0, 0], [0, 0.9, 0.9, 0.9, 0], [0, 0, 0.8, 0.8, 0.8]
    assert stay([0.9, 0.8, 0.7], *chain, iou=0.4) == [True, False, True]
    assert stay([0.4, 0.8, 0.7], *chain, iou=0.4) == [False, True, False]


def test_an_empty_mask_is_dropped_beside_others() -> None:
    """At exactly the mask's threshold a voxel is in no mask."""
    assert stay([0.9, 0.8], [0.5, 0.5], [0.0, 0.9]) == [False, True]
    assert stay([0.9], [0.5, 0.5]) == [True]
    assert stay([0.9, 0.8], [0.5, 0.5], [0.0, 0.9], mask_threshold=0.4) == [True, True]


def test_what_nobody_measured_is_present() -> None:
    assert stay([float("nan"), 0.2], [0.9, 0.0], [0.0, 0.9]) == [True, False]
    assert Presence().keep(one_slice([0.9]), np.array([[np.nan]])).all()


def test_shapes_that_do_not_fit_are_named() -> None:
    with pytest.raises(ArrayShapeError, match=r"presence has shape \(1, 2\), but probabilities"):
        kept_slices(np.zeros((1, 3, 1, 1)), np.zeros((1, 2)), Slices())
    with pytest.raises(ArrayShapeError, match="wanted 4 axes"):
        kept_slices(np.zeros((3, 1, 1)), np.zeros((3, 1)), Slices())
    assert kept_slices(np.zeros((2, 0, 3, 3)), np.zeros((2, 0)), Slices()).shape == (2, 0)
