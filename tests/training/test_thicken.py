"""Thicker slices than a volume was scanned with."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import made_volume  # noqa: E402
from vesal.training.thicken import FEWEST, TIMES, thick_slices, thicker  # noqa: E402


def test_a_thick_slice_is_the_mean_of_what_it_covers_and_has_the_labels_of_its_middle() -> None:
    image = np.array([10, 20, 60, 90, 250], np.uint8).reshape(5, 1, 1)
    labels = np.array([1, 2, 3, 4, 5], np.uint8).reshape(5, 1, 1)
    thick, named, spacing = thick_slices(image, labels, (1.0, 1.0, 1.0), 3)
    assert thick.ravel().tolist() == [30, 170] and thick.dtype == np.uint8
    # The last one is of two: the middle of three would be its second.
    assert named.ravel().tolist() == [2, 5] and spacing == (3.0, 1.0, 1.0)


@pytest.mark.parametrize("times", [1, *TIMES])
def test_image_and_labels_of_a_thick_slice_lie_at_the_same_place(times: int) -> None:
    """On a ramp, whose mean over any stretch is the value of its middle."""
    ramp = np.arange(64, dtype=np.uint8).reshape(64, 1, 1)
    thick, named, _ = thick_slices(ramp, ramp, (1.0, 1.0, 1.0), times)
    whole = len(thick) - 1  # the last one may reach beyond the volume
    assert thick[:whole].ravel().tolist() == named[:whole].ravel().tolist()


@pytest.mark.parametrize(
    ("spacing", "axis"), [((1.0, 1.0, 1.0), 0), ((2.5, 5.4, 5.4), 0), ((1.0, 1.0, 5.0), 2)]
)
def test_slices_lie_across_the_thick_axis_else_across_d(
    spacing: tuple[float, float, float], axis: int
) -> None:
    array = np.zeros((8, 8, 8), np.uint8)
    thick, _, new = thick_slices(array, array, spacing, 2)
    assert thick.shape == tuple(4 if a == axis else 8 for a in range(3))
    assert new == tuple(2 * s if a == axis else s for a, s in enumerate(spacing))


def test_a_thicker_volume_knows_its_places_and_covers_the_same_millimetres(tmp_path: Path) -> None:
    volume = made_volume(tmp_path)
    seen = set()
    for seed in range(12):
        thick = thicker(volume, np.random.default_rng(seed))
        n, before = thick.image.shape[0], volume.image.shape[0]
        times = thick.spacing_dhw_mm[0] / volume.spacing_dhw_mm[0]
        assert n == -(-before // times) and n >= FEWEST and times in TIMES
        assert thick.spacing_dhw_mm[1:] == volume.spacing_dhw_mm[1:]
        everything = (slice(None), slice(None), slice(None))
        for target in thick.targets:
            place = thick.places[target.label]
            values = thick.labels[everything][tuple(place.seeds.T)]
            assert len(values) and (values == target.label).all()
        assert thick.name == volume.name and thick.dataset == volume.dataset
        seen.add(times)
    assert len(seen) > 1


def test_slices_are_as_thick_as_asked_for(tmp_path: Path) -> None:
    volume = made_volume(tmp_path)
    apart_mm = volume.spacing_dhw_mm[0]
    made = [thicker(volume, np.random.default_rng(n), 2 * apart_mm, 3 * apart_mm) for n in range(12)]
    assert {v.spacing_dhw_mm[0] / apart_mm for v in made} == {2, 3}
    assert thicker(volume, np.random.default_rng(0), 9 * apart_mm) is volume


def test_with_too_few_slices_it_stays_as_it_is(tmp_path: Path) -> None:
    volume = made_volume(tmp_path)
    few = replace(volume, image=np.zeros((2 * FEWEST - 1, 8, 8), np.uint8))
    assert thicker(few, np.random.default_rng(0)) is few
