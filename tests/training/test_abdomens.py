"""Abdomens of more shapes, in CT and MR."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from tests.training.test_synthetic import SPACING, made_map  # noqa: E402
from vesal.training import abdomens  # noqa: E402
from vesal.training.abdomens import CT, MR, deformed, draw_mr, make, without_some  # noqa: E402
from vesal.training.deform import landmarks  # noqa: E402
from vesal.training.synthetic import AMOS, LabelMap  # noqa: E402


@pytest.fixture
def abdomen() -> LabelMap:
    """See ``made_map``."""
    return made_map()


@pytest.mark.parametrize(("dataset", "modality"), [(CT, "CT"), (MR, "MR")])
def test_an_image_has_the_targets_of_its_modality(abdomen: LabelMap, dataset: str, modality: str) -> None:
    made = make(abdomen, {}, "made_0", dataset, np.random.default_rng(0))
    assert made.dataset == dataset and {t.modality for t in made.targets} == {modality}
    assert {"liver", "stomach", "aorta"} <= {t.name for t in made.targets}
    assert np.asarray(made.image).dtype == np.uint8 and made.image.shape == made.labels.shape
    again = make(abdomen, {}, "made_0", dataset, np.random.default_rng(0))
    assert np.array_equal(made.image[:], again.image[:])


def test_shapes_differ_by_seed_and_towards_another_subject(
    abdomen: LabelMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    def liver(seed: int, others: dict) -> int:
        return int((deformed(abdomen, others, np.random.default_rng(seed)) == 6).sum())

    assert len({liver(seed, {}) for seed in range(4)}) == 4
    larger = abdomen.labels.copy()
    larger[4:34, 14:58, 52:92] = 6
    marks = landmarks(larger, SPACING, abdomen.structures)
    monkeypatch.setattr(abdomens, "AMOUNT", (0.0, 0.0))
    monkeypatch.setattr(abdomens, "TOWARDS", 1.0)
    monkeypatch.setattr(abdomens, "SHARE", (0.9, 0.9))
    assert liver(0, {"other": marks}) > 1.2 * (abdomen.labels == 6).sum()


def test_some_organs_are_left_out_and_the_liver_never(
    abdomen: LabelMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abdomens, "LEFT_OUT", 1.0)
    monkeypatch.setattr(abdomens, "FEWEST", 3)
    left = without_some(abdomen.labels, abdomen.structures, np.random.default_rng(0))
    names = {abdomen.structures[int(i)] for i in np.unique(left) if i}
    assert names == {"liver", "stomach", "aorta"}
    monkeypatch.setattr(abdomens, "FEWEST", 4)
    same = without_some(abdomen.labels, abdomen.structures, np.random.default_rng(0))
    assert np.array_equal(same, abdomen.labels)


def test_fat_and_water_cancel_in_the_opposed_phase_alone(
    abdomen: LabelMap, monkeypatch: pytest.MonkeyPatch
) -> None:
    liver = abdomen.labels == AMOS.index("liver") + 1
    inside = liver[10:28, 24:46, 60:80]

    def border(contrast: str) -> float:
        only = {contrast: abdomens.TISSUES["mr"]["contrasts"][contrast]}
        monkeypatch.setitem(abdomens.TISSUES["mr"], "contrasts", only)
        image = draw_mr(abdomen.labels, SPACING, abdomen.structures, np.random.default_rng(1)).astype(float)
        middle = np.median(image[10:28, 24:46, 60:80])
        edge = np.median(image[10:28, 24:46, [54, 55, 84, 85]].min(2))
        return edge / middle

    contrasts = dict(abdomens.TISSUES["mr"]["contrasts"])
    assert inside.all()
    opposed = border("opposed")
    monkeypatch.setitem(abdomens.TISSUES["mr"], "contrasts", contrasts)
    assert opposed < 0.8 * border("t1")
