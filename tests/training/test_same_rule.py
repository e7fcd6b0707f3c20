"""Training forms its views by the rules that the shipped weights are run by."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import made_volume, rule  # noqa: E402
from vesal.inference.data.prompt import Query  # noqa: E402
from vesal.inference.geometry.fit import fit_view  # noqa: E402
from vesal.inference.geometry.resample import labels_to_view  # noqa: E402
from vesal.inference.geometry.views import Box, triple  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.planning.rules import StageRule  # noqa: E402
from vesal.inference.planning.weights_folder import WEIGHTS  # noqa: E402
from vesal.inference.stages.regions import find_regions  # noqa: E402
from vesal.inference.stages.stage_result import Latest, StageResult  # noqa: E402
from vesal.inference.stages.view_task import Volume  # noqa: E402
from vesal.training import views  # noqa: E402
from vesal.training.ideas import Ideas  # noqa: E402
from vesal.training.measure.runs import Labelled, read_labelled  # noqa: E402
from vesal.training.store import read_rules  # noqa: E402
from vesal.training.views import CLOSER, COARSER, GROW, TOGETHER, coarse_item, fine_item  # noqa: E402

VOXELS = 24 * 32 * 32


def test_fine_views_are_shared_in_training_as_at_run_time() -> None:
    profile = read_profile(WEIGHTS / "nano", check_digests=False)
    for _, used in (profile.stages, *(o.stages for o in profile.overrides)):
        assert used.max_targets_per_view == TOGETHER
        assert CLOSER[0] * COARSER <= used.max_spacing_ratio <= CLOSER[1] * COARSER
        assert GROW[0] <= used.margin_factor <= GROW[1]
    _, ct = next(o.stages for o in profile.overrides if o.modality == "CT" and o.kind is None)
    rules = {name: r.finest_mm for name, r in read_rules().items() if name.startswith("CT_")}
    assert rules.pop("CT_Sarcoma") == 0.0, "lesions are looked at as fine as they were acquired"
    assert set(rules.values()) == {ct.min_spacing_mm}


def test_no_view_is_finer_than_what_training_showed(shared: Path) -> None:
    """Voxels finer than those of its training set are new to a target, coarser ones lose detail: the limit
    lies at the set's usual voxels, or a little below where sets of one kind share it. Where it lies far below
    (lungs, beside other organs) the target is so large that a view of it gets no finer. Lesions have none.
    """
    profile = read_profile(WEIGHTS / "nano", check_digests=False)
    train, looked = shared / "data" / "train", set()
    for folder in sorted(p for p in train.iterdir() if p.name.startswith(("MR_", "US_"))):
        volumes = [read_labelled(path) for path in sorted(folder.glob("*.npz"))[:5]]
        usual = float(np.median([min(v.case.spacing_dhw_mm) for v in volumes]))
        for labelled, prompt in ((v, p) for v in volumes for p in v.prompts):
            if prompt.concept and profile.covers(prompt.concept, prompt.side, prompt.modality):
                for used in profile.rules_for(prompt.modality, prompt.kind):
                    finest = used.min_spacing_mm / usual
                    if prompt.kind != "lesion" and 0 < finest <= 0.79:
                        assert seen_mm(labelled, prompt.id, used) > 0.79 * usual, folder.name
                        continue
                    assert finest == 0 if prompt.kind == "lesion" else 0.79 < finest < 1.01, folder.name
                    looked.add((prompt.modality, prompt.kind))
    assert {("MR", "heart chamber"), ("MR", "organ"), ("MR", "structure"), ("US", "organ")} <= looked


def seen_mm(labelled: Labelled, id_: int, used: StageRule) -> float:
    """Finest voxels of the view over a target, in a copy of its scan with voxels half as long."""
    where = np.argwhere(labelled.mask(labelled.truth, id_))
    box = Box(triple(2.0 * where.min(0)), triple(2.0 * (where.max(0) + 1)))
    spacing = triple(s / 2 for s in labelled.case.spacing_dhw_mm)
    view = fit_view(box.grown(used.margin_factor), spacing, used.window_voxels, used.min_spacing_mm)
    return min(step * s for step, s in zip(view.step, spacing, strict=True))


@pytest.mark.parametrize("finest_mm", [0.0, 1.5])
def test_a_fine_view_of_training_is_that_of_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, finest_mm: float
) -> None:
    """Nothing drawn but what the coarse stage found: the same box, margin, limits and grid."""
    monkeypatch.setattr(views, "GROW", (1.35, 1.35))
    monkeypatch.setattr(views, "CLOSER", (1.0, 1.0))
    monkeypatch.setattr(views, "FOREIGN_BOX", 0.0)
    monkeypatch.setattr(views, "SOME", 0.0)
    made, still = made_volume(tmp_path), Ideas().without(["elastic"])
    queries = [Query(t.label, t.name, t.concept, t.side, t.modality, "organ") for t in made.targets]
    volume = Volume(np.asarray(made.image), made.spacing_dhw_mm, made.statistics)
    used = StageRule(
        VOXELS,
        margin_factor=1.35,
        max_targets_per_view=TOGETHER,
        max_spacing_ratio=COARSER,
        min_spacing_mm=finest_mm,
        max_windows_if_empty=0,
    )
    for seed in range(4):
        rng = np.random.default_rng(seed)
        coarse = coarse_item(made, rule(), VOXELS, rng, ideas=still)
        found = (views.unpose(coarse.truth[0], coarse) > 0.5).astype(np.float32)
        passed = StageResult(coarse.view, found, np.ones(found.shape[:2]), 1, 0, 0.0, "")
        before = [Latest(passed, row, 0.5) for row in range(len(found))]
        targets = find_regions(volume, used, before, queries)
        seen = fine_item(coarse, found, replace(rule(), finest_mm=finest_mm), VOXELS, rng, still).view
        expected = [fit_view(t.box, volume.spacing_dhw_mm, VOXELS, finest_mm) for _, t in targets]
        assert seen in expected


@pytest.mark.parametrize(("thick_mm", "degree"), [(3.3, 2), (1.2, 0)])
def test_a_view_as_of_a_finer_scan_is_what_the_engine_lays_over_that_scan(
    thick_mm: float, degree: int
) -> None:
    """Prostates were shrunk in plane for training, 1.2 mm of 3.3 mm thick slices, and come at half of it."""
    drawn = SimpleNamespace(random=lambda: 0.0, uniform=lambda low, high: 0.5)
    coarse = np.random.default_rng(0).integers(0, 4, (10, 24, 20)).astype(np.uint8)
    box, grown = Box((2.0, 3.0, 4.0), (8.0, 15.0, 14.0)), (2 if degree == 0 else 1, 2, 2)
    view = views._laid(box, (thick_mm, 1.2, 1.2), VOXELS, drawn, Ideas())
    assert view.degree == degree

    ends = (tuple(e * n for e, n in zip(edge, grown, strict=True)) for edge in (box.start, box.stop))
    finer = np.kron(coarse, np.ones(grown, np.uint8))
    spacing = (thick_mm / grown[0], 0.6, 0.6)
    expected = fit_view(Box(*ends), spacing, VOXELS)
    assert (view.shape, view.degree) == (expected.shape, expected.degree)
    assert view.thick_axis == expected.thick_axis
    assert view.spacing_mm((thick_mm, 1.2, 1.2)) == pytest.approx(expected.spacing_mm(spacing))
    np.testing.assert_array_equal(labels_to_view(coarse, view), labels_to_view(finer, expected))


def test_some_views_are_finer_than_the_scan() -> None:
    rng, box = np.random.default_rng(0), Box((2.0, 3.0, 4.0), (8.0, 15.0, 14.0))
    seen = [views._laid(box, (3.3, 1.2, 1.2), VOXELS, rng, Ideas()) for _ in range(400)]
    finer = [min(v.step) < 1 for v in seen]
    assert 0.75 * views.FINER < np.mean(finer) < 1.25 * views.FINER
    assert all(min(v.step) >= views.FINEST and v.step[0] == 1.0 for v in seen)
    still = Ideas().without(["elastic"])
    assert views._laid(box, (3.3, 1.2, 1.2), VOXELS, rng, still).step == (1.0, 1.0, 1.0)
