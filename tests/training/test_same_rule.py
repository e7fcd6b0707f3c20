"""Training forms its views by the rules that the shipped weights are run by."""

import pytest

pytest.importorskip("torch", reason="training needs torch")

from inference.profile import read_profile  # noqa: E402
from inference.settings import ROOT  # noqa: E402
from training.views import CLOSER, COARSER, TOGETHER  # noqa: E402


def test_fine_views_are_shared_in_training_as_at_run_time() -> None:
    profile = read_profile(ROOT / "weights" / "nano", check_digests=False)
    for rule in (profile.fine, *(o.fine for o in profile.overrides)):
        assert rule.together == TOGETHER
        assert CLOSER[0] * COARSER <= rule.coarser <= CLOSER[1] * COARSER
