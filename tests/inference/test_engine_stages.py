"""Profiles of one stage, of three, and what is saved between them."""

from dataclasses import replace

import numpy as np
from msgspec import structs

from tests.inference.fake_models import (
    Bright,
    Saved,
    dice,
    made_image,
    make_engine,
    make_prompt,
    make_stages,
    segment,
)
from vesal.inference.planning.rules import StageRule

CUBE = (slice(8, 20), slice(10, 24), slice(6, 26))
LIVER = make_prompt(1, "liver")


def test_a_profile_may_have_three_stages_or_one() -> None:
    """Each refines the result before it; the last one's is written."""
    bright, image = Bright(), made_image((64, 64, 64), (CUBE, 200))
    coarse, fine = make_stages(StageRule(window_voxels=16**3), StageRule(window_voxels=24 * 32 * 32))
    finest = structs.replace(fine, name="finest", window_voxels=32**3)
    for stages in ((coarse, fine, finest), (structs.replace(finest, window_voxels=64**3),), (coarse,)):
        engine = make_engine(bright)
        engine.profile = replace(engine.profile, stages=stages)
        result = segment(engine, image, [LIVER])
        assert [stage.stage for stage in result.stages] == [rule.name for rule in stages]
        assert result.prompts[1].stages == tuple(rule.name for rule in stages)
        if stages != (coarse,):
            np.testing.assert_array_equal(result.labels == 1, image == 200)
    assert 0.3 < dice(result.labels == 1, image == 200) < 1.0, "the coarse stage alone"


def test_every_result_of_three_stages_is_saved() -> None:
    saved, image = Saved(), made_image((64, 64, 64), (CUBE, 200))
    coarse, fine = make_stages(StageRule(window_voxels=16**3), StageRule(window_voxels=16**3))
    engine = make_engine()
    finest = structs.replace(fine, name="finest", window_voxels=32**3)
    engine.profile = replace(engine.profile, stages=(coarse, fine, finest))
    result = segment(engine, image, [LIVER], save=saved)
    scores = [dice(labels == 1, image == 200) for labels in (*saved.maps, result.labels)]
    assert len(scores) == 3 and scores[0] < scores[1] < scores[2] == 1.0
