"""Whenever a better result is known it is on disk, and nothing that was found gets lost on the way."""

import numpy as np
import pytest

from tests.inference.fake_models import Bright, Saved, dice, made_image, make_engine, make_prompt, segment
from vesal.inference.planning.rules import StageRule

LIVER, SPLEEN = (slice(4, 14), slice(6, 26), slice(7, 27)), (slice(70, 84), slice(60, 84), slice(63, 87))
NEAR, FAR = (slice(10, 34), slice(10, 34), slice(10, 34)), (slice(80, 86), slice(80, 86), slice(80, 86))


ALONE = StageRule(window_voxels=32**3, margin_factor=1.2, max_targets_per_view=1)


class Hangs(BaseException):
    """Stands for a call that never returns."""


class HangsAt(Bright):
    """The call of this number hangs."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if len(self.calls) + 1 == self.number:
            raise Hangs
        return super().__call__(inputs)


def far_apart():
    """Two targets in views of their own, and the image."""
    image = made_image((96, 96, 96), (LIVER, 200), (SPLEEN, 120))
    return image, [make_prompt(1, "liver"), make_prompt(2, "spleen")]


@pytest.mark.parametrize("instance", [False, True])
def test_a_refined_view_is_on_disk_when_the_next_one_hangs(instance: bool) -> None:
    image, prompts = far_apart()
    saved = Saved()
    with pytest.raises(Hangs):
        segment(make_engine(HangsAt(3), fine=ALONE), image, prompts, save=saved, instance=instance)
    coarse, last = saved.maps
    assert dice(coarse > 0, image > 100) < 0.9, "a coarse view of 3 mm"
    at = tuple(slice(0, 48) for _ in range(3))
    assert dice(last[at] > 0, image[at] > 100) > 0.95, "the liver is refined"
    assert np.array_equal(last[48:] > 0, coarse[48:] > 0), "the spleen is still the coarse one"
    if not instance:
        assert sorted(np.unique(last)) == [0, 1, 2]


def test_the_last_view_is_not_saved_twice() -> None:
    image, prompts = far_apart()
    saved = Saved()
    result = segment(make_engine(fine=ALONE), image, prompts, save=saved)
    assert [report.stage for report in result.stages] == ["coarse", "fine", "fine"]
    assert len(saved.maps) == 2


def test_three_stages_save_after_each() -> None:
    """Zoom in twice: the view of the third stage lies around the result of the second."""
    image, prompts = far_apart()
    saved = Saved()
    engine = make_engine(stages=("coarse", "fine", "finest"))
    result = segment(engine, image, prompts[:1], save=saved)
    assert [report.stage for report in result.stages] == ["coarse", "fine", "finest"]
    sides = [max(report.spacing_dhw_mm) for report in result.stages]
    assert sides[0] > sides[1] >= sides[2]
    assert len(saved.maps) == 2
    assert dice(result.labels == 1, image == 200) > 0.97


def test_one_stage_alone_gives_its_result() -> None:
    image, prompts = far_apart()
    saved = Saved()
    result = segment(make_engine(stages=("coarse",)), image, prompts, save=saved)
    assert [report.stage for report in result.stages] == ["coarse"]
    assert np.array_equal(result.labels, saved.maps[0])
    assert set(np.unique(result.labels)) == {0, 1, 2}


@pytest.mark.parametrize("kept", [False, True])
def test_a_second_focus_far_from_the_first_is_kept_by_rule(kept: bool) -> None:
    image = made_image((96, 96, 96), (NEAR, 240), (FAR, 240))
    fine = StageRule(window_voxels=48**3, margin_factor=1.2, keep_outside=kept)
    engine = make_engine(coarse=StageRule(window_voxels=48**3), fine=fine, targets=[("lesion", None, "CT")])
    result = segment(engine, image, [make_prompt(1, "lesion", kind="lesion")])
    assert dice(result.labels[NEAR] == 1, image[NEAR] == 240) > 0.97
    assert result.labels[FAR].any() == kept


def test_the_other_side_of_a_prompt_stays_on_disk_while_one_is_refined() -> None:
    """`kidney` is run as two sides, in views of their own; the second one hangs."""
    left, right = (slice(4, 14), slice(6, 26), slice(50, 70)), (slice(70, 84), slice(60, 84), slice(4, 24))
    image = made_image((96, 96, 96), (left, 160), (right, 160))
    saved = Saved()
    with pytest.raises(Hangs):
        segment(make_engine(HangsAt(3), fine=ALONE), image, [make_prompt(1, "kidney")], save=saved)
    coarse, last = saved.maps
    assert coarse[left].any() and coarse[right].any()
    assert last[left].any() and last[right].any()


def test_views_of_a_middle_stage_are_on_disk_too() -> None:
    """Coarse, then two views of the second stage; the third stage hangs at its first one."""
    image, prompts = far_apart()
    saved = Saved()
    with pytest.raises(Hangs):
        engine = make_engine(HangsAt(4), fine=ALONE, stages=("coarse", "fine", "finest"))
        segment(engine, image, prompts, save=saved)
    assert len(saved.maps) == 3
    assert dice(saved.maps[2] > 0, image > 100) > dice(saved.maps[0] > 0, image > 100)
