"""What pre-training looks at."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from torch import Tensor  # noqa: E402

from tests.training.made import made_volume, rule  # noqa: E402
from vesal.networks.masked import patch_shape  # noqa: E402
from vesal.training.pretrain.crops import HIDDEN_SHARE, draw_crop, draw_mask  # noqa: E402
from vesal.training.pretrain.source import CropSource  # noqa: E402

VOXELS = 2 * 16**3


@pytest.mark.parametrize(("shape", "degree"), [((64, 64, 64), 0), ((20, 80, 80), 2), ((8, 160, 160), 1)])
def test_as_many_patches_are_hidden_as_the_paper_hides(shape: tuple[int, ...], degree: int) -> None:
    mask = draw_mask(shape, degree, np.random.default_rng(0))
    assert mask.shape == tuple(n // p for n, p in zip(shape, patch_shape(degree), strict=True))
    assert mask.sum() == round(HIDDEN_SHARE * mask.size)
    assert not np.array_equal(mask, draw_mask(shape, degree, np.random.default_rng(1)))


@pytest.mark.parametrize(("shape", "hidden"), [((16, 16, 16), 1), ((16, 16, 32), 1)])
def test_something_is_hidden_and_something_shown(shape: tuple[int, ...], hidden: int) -> None:
    assert draw_mask(shape, 0, np.random.default_rng(0)).sum() == hidden


@pytest.mark.parametrize(("spacing_xyz", "degree"), [((1.0, 1.0, 1.0), 0), ((1.0, 1.0, 9.0), 2)])
def test_a_crop_fits_the_network_and_keeps_no_label(
    tmp_path: Path, spacing_xyz: tuple[float, ...], degree: int
) -> None:
    volume = made_volume(tmp_path, spacing_xyz=spacing_xyz)
    for seed in range(6):
        crop = draw_crop(volume, rule(), VOXELS, np.random.default_rng(seed))
        assert crop.degree == degree and crop.image.shape[:2] == (1, 2)
        assert crop.image[0, 0].numel() <= VOXELS
        shape = crop.image.shape[2:]
        assert crop.mask.shape[1:] == tuple(n // p for n, p in zip(shape, patch_shape(degree), strict=True))
        assert torch.isfinite(crop.image).all() and crop.image.std() > 0


def test_a_crop_is_the_same_whenever_it_is_drawn(tmp_path: Path) -> None:
    volumes = [made_volume(tmp_path / name, name) for name in ("CT_A", "MR_B")]
    rules = {"CT_A": rule(), "MR_B": rule()}

    def crop(step: int, number: int, rank: int = 0) -> Tensor:
        return CropSource(volumes, rules, VOXELS, 3, rank).crop(step, number).image

    assert torch.equal(crop(4, 1), crop(4, 1))
    others = [crop(4, 2), crop(5, 1), crop(4, 1, 1)]
    assert not any(crop(4, 1).shape == o.shape and torch.equal(crop(4, 1), o) for o in others)
    sets = {CropSource(volumes, rules, VOXELS, 3).crop(0, n).dataset for n in range(12)}
    assert sets == {"CT_A", "MR_B"}
