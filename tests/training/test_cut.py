"""Parts of volumes, as of a smaller field of view."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import made_volume  # noqa: E402
from vesal.training.cut import FEWEST, LEAST_SEEN, SHARES, part_of  # noqa: E402

EVERYTHING = (slice(None), slice(None), slice(None))


def test_a_part_is_one_end_of_the_volume_along_one_axis(tmp_path: Path) -> None:
    volume = replace(made_volume(tmp_path), thickest_slice_mm=2.0)
    whole = volume.image[EVERYTHING]
    axes = set()
    for seed in range(24):
        part = part_of(volume, np.random.default_rng(seed))
        if part is volume:
            continue
        cut = [axis for axis in range(3) if part.image.shape[axis] < whole.shape[axis]]
        assert len(cut) == 1
        n, left = whole.shape[cut[0]], part.image.shape[cut[0]]
        assert round(SHARES[0] * n) <= left <= round(SHARES[1] * n)
        ends = [np.take(whole, range(a, a + left), cut[0]) for a in (0, n - left)]
        assert any(np.array_equal(part.image[EVERYTHING], end) for end in ends)
        assert part.spacing_dhw_mm == volume.spacing_dhw_mm and part.thickest_slice_mm == 2.0
        axes.add(cut[0])
    assert axes == {0, 1, 2}


def test_a_target_of_which_a_sliver_is_left_is_none_of_the_part(tmp_path: Path) -> None:
    volume = made_volume(tmp_path)
    before = volume.labels[EVERYTHING]
    numbers = set()
    for seed in range(48):
        part = part_of(volume, np.random.default_rng(seed))
        labels = part.labels[EVERYTHING]
        left = {
            t.name
            for t in volume.targets
            if (labels == t.label).sum() >= LEAST_SEEN * (before == t.label).sum()
        }
        assert {t.name for t in part.targets} == left
        for target in part.targets:
            assert (labels[tuple(part.places[target.label].seeds.T)] == target.label).all()
        numbers.add(len(left))
    assert numbers == {1, 2}


def test_too_few_slices_and_a_part_without_targets_leave_it_as_it_is(tmp_path: Path) -> None:
    volume = made_volume(tmp_path)
    few = replace(volume, image=np.zeros((FEWEST, FEWEST, FEWEST), np.uint8))
    assert part_of(few, np.random.default_rng(0)) is few
    none = replace(volume, targets=tuple(replace(t, label=9) for t in volume.targets))
    assert part_of(none, np.random.default_rng(0)) is none
