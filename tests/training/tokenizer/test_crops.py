"""Parts of volumes at a degree of anisotropy: slices that become one, batches, the same draws again."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import made_volume, rule  # noqa: E402
from vesal.networks.spad_vt import patch_dhw  # noqa: E402
from vesal.training.store import Volume  # noqa: E402
from vesal.training.tokenizer.crops import (  # noqa: E402
    ALONE,
    SIDE,
    CropSource,
    draw_crop,
    own_degree,
    slices_together,
    thickened,
    whole_patches,
)

RULES = {"CT_Made": rule(), "MR_Thick": rule(), "MR_Held": rule(weight=0.0)}


@pytest.fixture
def volumes(tmp_path: Path) -> list[Volume]:
    """Slices of 1 mm and of 9 mm, and a set that nothing is trained on."""
    return [
        made_volume(tmp_path, "CT_Made"),
        made_volume(tmp_path, "MR_Thick", spacing_xyz=(1.0, 1.0, 9.0)),
        made_volume(tmp_path, "MR_Held"),
    ]


@pytest.mark.parametrize(
    ("spacing", "degree"),
    [((1.0, 1.0, 1.0), 0), ((4.0, 1.0, 1.0), 2), ((1.0, 9.0, 1.0), 3), ((99.0, 1.0, 1.0), 5)],
)
def test_the_degree_of_a_volume_as_it_stands(spacing: tuple[float, ...], degree: int) -> None:
    assert own_degree(spacing) == degree


def test_slices_that_become_one() -> None:
    # From degree 1 to 3: four. Single slices stay as they are.
    assert [slices_together(1, degree) for degree in (1, 2, 3, 4, ALONE)] == [1, 2, 4, 8, 1]
    image = np.arange(5, dtype=np.uint8).reshape(5, 1, 1) * 10
    np.testing.assert_allclose(thickened(image, 2).ravel(), [5, 25])  # the fifth has no partner


def test_whole_patches_repeat_the_last_voxel() -> None:
    image = np.arange(3, dtype=np.float32).reshape(3, 1, 1) * np.ones((3, 20, 16), np.float32)
    found = whole_patches(image, 2)
    assert found.shape == (4, 32, 16)
    assert (found[3] == 2).all()


@pytest.mark.parametrize("step", range(6))
def test_a_batch_is_of_one_degree_and_of_whole_patches(volumes: list[Volume], step: int) -> None:
    batch = CropSource(volumes, RULES, 0).batch(step)
    count, channels, *sides = batch.image.shape
    assert (channels, sides) == (1, [max(SIDE // 2 >> batch.degree, 1), SIDE, SIDE])
    assert all(n % side == 0 for n, side in zip(sides, patch_dhw(batch.degree), strict=True))
    assert count >= 8
    assert float(batch.image.abs().max()) <= 1


def test_a_run_that_goes_on_draws_what_it_would_have_drawn(volumes: list[Volume]) -> None:
    first, again = CropSource(volumes, RULES, 3), CropSource(volumes, RULES, 3)
    first.batch(0)
    assert (first.batch(4).image == again.batch(4).image).all()
    other = CropSource(volumes, RULES, 4)
    assert [other.batch(n).image.sum() for n in range(4)] != [again.batch(n).image.sum() for n in range(4)]


def test_thick_slices_are_never_shown_as_thin_ones(volumes: list[Volume]) -> None:
    source = CropSource(volumes[1:], RULES, 0)
    assert min(source.batch(step).degree for step in range(12)) == 3


def test_sets_without_a_weight_are_not_drawn(volumes: list[Volume]) -> None:
    with pytest.raises(ValueError, match="no volume belongs to a set with a weight"):
        CropSource(volumes[2:], RULES, 0)


def test_a_crop_shows_the_volume_along_its_thick_axis(tmp_path: Path) -> None:
    volume = made_volume(tmp_path, spacing_xyz=(9.0, 1.0, 1.0))  # thick along the last axis, of 20 voxels
    crop = draw_crop(volume, 3, 3, 20, np.random.default_rng(0))
    assert crop.shape == (20, SIDE, SIDE)
    grey = np.unique(np.round((crop + 1) * 127.5)).astype(int).tolist()
    assert grey == [40, 120, 200]
