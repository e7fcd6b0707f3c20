"""Prompts that ask for the same voxels, through the whole engine."""

import numpy as np

from tests.inference.fake_models import made_image, make_engine, make_prompt, segment
from vesal.inference.planning.rules import StageRule
from vesal.postprocess.specks import Specks

LEFT, RIGHT = (slice(8, 20), slice(6, 16), slice(4, 12)), (slice(8, 20), slice(6, 16), slice(20, 28))
SPECK = (slice(8, 10), slice(6, 8), slice(13, 15))
IMAGE = made_image((32, 32, 32), (LEFT, 160), (RIGHT, 160))
LIVERS = made_image((32, 32, 32), (LEFT, 200))
BOTH, ONE = make_prompt(1, "kidney"), make_prompt(2, "kidney", "left")


def test_the_more_specific_prompt_has_the_voxels_and_the_report_says_who_lost_how_many() -> None:
    for prompts in ([BOTH, ONE], [ONE, BOTH]):
        result = segment(make_engine(), IMAGE, prompts)
        own = np.count_nonzero(result.labels == 2)
        assert own > 0
        assert result.prompts[2].voxels == own and result.prompts[2].lost_to == {}
        assert result.prompts[1].lost_to == {2: own}
        assert f"{own} as prompt 2 (left kidney)" in result.prompts[1].why
        assert np.array_equal(result.mask(2), result.labels == 2)
        assert np.array_equal(result.mask(1), result.labels > 0)


def test_one_sentence_twice_says_where_the_second_one_is() -> None:
    liver = [make_prompt(4, "liver"), make_prompt(7, "liver")]
    result = segment(make_engine(), LIVERS, liver)
    assert set(np.unique(result.labels)) == {0, 4}
    voxels = np.count_nonzero(result.labels)
    assert (result.prompts[7].voxels, result.prompts[7].lost_to) == (0, {4: voxels})
    assert "as prompt 4 (liver)" in result.prompts[7].why
    assert np.array_equal(result.mask(7), result.labels == 4)


def test_both_sides_alone_are_written_under_one_id() -> None:
    result = segment(make_engine(), IMAGE, [make_prompt(3, "kidney")])
    assert set(np.unique(result.labels)) == {0, 3}
    assert result.prompts[3].voxels == np.count_nonzero(result.labels)


def test_specks_go_before_objects_are_counted_and_only_there() -> None:
    image = made_image((32, 32, 32), (LEFT, 200), (SPECK, 200))
    wide = StageRule(window_voxels=32**3, margin_factor=2.0)
    engine = make_engine(fine=wide, postprocess=(Specks(kinds=("organ",), instances=True, semantic=False),))
    liver = [make_prompt(1, "liver")]
    assert segment(make_engine(fine=wide), image, liver, instance=True).prompts[1].objects == 2
    result = segment(engine, image, liver, instance=True)
    assert result.prompts[1].objects == 1 and not result.labels[SPECK].any()
    assert segment(engine, image, liver).labels[SPECK].any()
