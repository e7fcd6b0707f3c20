"""Training forms its views by the rules that the shipped weights are run by."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from inference.geometry import fit_view  # noqa: E402
from inference.look import Sight  # noqa: E402
from inference.plan import Query  # noqa: E402
from inference.profile import StageRule, read_profile  # noqa: E402
from inference.settings import ROOT  # noqa: E402
from inference.targets import find_targets  # noqa: E402
from tests.training.made import made_volume, rule  # noqa: E402
from training import views  # noqa: E402
from training.ideas import Ideas  # noqa: E402
from training.store import read_rules  # noqa: E402
from training.views import CLOSER, COARSER, GROW, TOGETHER, coarse_item, fine_item  # noqa: E402

VOXELS = 24 * 32 * 32


def test_fine_views_are_shared_in_training_as_at_run_time() -> None:
    profile = read_profile(ROOT / "weights" / "nano", check_digests=False)
    for used in (profile.fine, *(o.fine for o in profile.overrides)):
        assert used.together == TOGETHER
        assert CLOSER[0] * COARSER <= used.coarser <= CLOSER[1] * COARSER
        assert GROW[0] <= used.grow <= GROW[1]
    ct = next(o.fine for o in profile.overrides if o.modality == "CT" and o.kind is None)
    rules = {name: r.finest_mm for name, r in read_rules().items() if name.startswith("CT_")}
    assert rules.pop("CT_Sarcoma") == 0.0, "lesions are looked at as fine as they were acquired"
    assert set(rules.values()) == {ct.finest_mm}


@pytest.mark.parametrize("finest_mm", [0.0, 1.5])
def test_a_fine_view_of_training_is_that_of_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finest_mm: float
) -> None:
    """Nothing drawn but what the coarse stage found: the same box, margin, limits and grid."""
    monkeypatch.setattr(views, "GROW", (1.35, 1.35))
    monkeypatch.setattr(views, "CLOSER", (1.0, 1.0))
    monkeypatch.setattr(views, "FOREIGN_BOX", 0.0)
    monkeypatch.setattr(views, "SOME", 0.0)
    volume, still = made_volume(tmp_path), Ideas().without(["elastic"])
    queries = [Query(t.label, t.name, t.concept, t.side, t.modality, "organ") for t in volume.targets]
    sight = Sight(np.asarray(volume.image), volume.spacing_dhw_mm, volume.statistics)
    used = StageRule(
        VOXELS, grow=1.35, together=TOGETHER, coarser=COARSER, finest_mm=finest_mm, windows_if_empty=0
    )
    for seed in range(4):
        rng = np.random.default_rng(seed)
        coarse = coarse_item(volume, rule(), VOXELS, rng, ideas=still)
        found = (views.unpose(coarse.truth[0], coarse) > 0.5).astype(np.float32)
        passed = SimpleNamespace(probability=found, view=coarse.view)
        targets = find_targets(sight, used, passed, queries)
        seen = fine_item(coarse, found, replace(rule(), finest_mm=finest_mm), VOXELS, rng, still).view
        expected = [fit_view(t.box, volume.spacing_dhw_mm, VOXELS, finest_mm) for _, t in targets]
        assert seen in expected
