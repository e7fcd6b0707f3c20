"""Presence of a slice by its largest logit."""

import numpy as np
import pytest

from tests.inference.fake_models import make_profile
from vesal.inference.data.errors import ProfileError
from vesal.inference.families.voxtell.presence import check_presence, slice_presence
from vesal.postprocess.presence import Presence, present_slices
from vesal.postprocess.specks import Specks


def test_half_is_at_the_threshold() -> None:
    logits = np.full((1, 3, 2, 2), -9, np.float32)
    logits[0, :, 1, 0] = 1.5, 2, 2.5
    found = slice_presence(logits, 2.0)
    assert found.dtype == np.float32
    assert found[0] == pytest.approx(1 / (1 + np.exp([0.5, 0, -0.5])), abs=1e-6)
    assert present_slices(found).tolist() == [[False, False, True]]


def test_every_target_has_its_own() -> None:
    logits = np.random.default_rng(0).normal(size=(4, 5, 6, 7))
    assert (slice_presence(logits, 0.0) > 0.5).tolist() == (logits.max((2, 3)) > 0).tolist()


def test_large_logits_and_none_at_all() -> None:
    with np.errstate(all="raise"):
        found = slice_presence(np.array([65504, -65504], np.float16).reshape(1, 2, 1, 1), 0.0)
        assert found.tolist() == [[1, 0]]
        assert slice_presence(np.zeros((2, 3, 0, 4), np.float32), 0.0).tolist() == [[0] * 3] * 2


def test_presence_that_nothing_uses_is_refused() -> None:
    check_presence(make_profile(), None)
    check_presence(make_profile(postprocess=(Presence(),)), 2.0)
    with pytest.raises(ProfileError, match="presence_logit. is 2, but no rule"):
        check_presence(make_profile(postprocess=(Specks(),)), 2.0)
