"""Smoothed copies of sharp prostates."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from vesal.training.shelf import fill, read  # noqa: E402
from vesal.training.smoothed import (  # noqa: E402
    COPIES,
    DATASET,
    SHAPE,
    SPACING_MM,
    smooth,
    smoothed_volumes,
    source,
)
from vesal.training.store import Volume, read_rules, read_volume  # noqa: E402

SPACING_XYZ = (1.2, 1.2, 3.3)
AT = (slice(4, 16), slice(30, 66), slice(28, 78))
"""A box wider than it is high, in the upper half of the slice: a quarter turn makes it higher than wide."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A sharp, noisy volume with one prostate."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 90, (20, 110, 110)).astype(np.uint8)
    labels = np.zeros(image.shape, np.uint8)
    labels[AT] = 1
    image[AT] = rng.integers(120, 255, image[AT].shape)
    path = tmp_path / "MR_Prostate" / "MR_Prostate_made.npz"
    path.parent.mkdir()
    prompts = np.array({"1": "Prostate in T2 MRI", "instance_label": 0}, dtype=object)
    np.savez_compressed(path, imgs=image, gts=labels, spacing=np.array(SPACING_XYZ), text_prompts=prompts)
    return path


@pytest.fixture
def sharp(path: Path) -> Volume:
    return read_volume(path)


@pytest.mark.parametrize("seed", range(3))
def test_a_copy_is_as_the_provider_gives_them(sharp: Volume, seed: int) -> None:
    copy = smooth(sharp, "x", np.random.default_rng(seed))
    image, labels = copy.image[:].astype(float), copy.labels[:]
    assert image.shape == labels.shape == SHAPE and copy.spacing_dhw_mm == (SPACING_MM,) * 3
    assert [t.name for t in copy.targets] == ["prostate"] and copy.dataset == DATASET
    inside = image[labels == 1]
    assert inside.std() < 30 < sharp.image[AT].std()  # the texture is gone
    assert inside.mean() > 1.5 * image[labels == 0].mean()  # and the mask still lies on what it marks
    assert not image[[0, -1]].max() > 30  # beyond the ends of the stack


def test_a_copy_is_turned_by_a_quarter_and_shrunk(sharp: Volume) -> None:
    copy = smooth(sharp, "x", np.random.default_rng(5))
    at = np.argwhere(copy.labels[:] == 1)
    size = (at.max(0) - at.min(0) + 1) * SPACING_MM
    nominal = np.array([12 * 3.3, 50 * 1.2, 36 * 1.2])  # its height and width change places
    assert (size[1:] < nominal[1:]).all() and size[1] > size[2]
    assert size[0] == pytest.approx(nominal[0] * 0.92, rel=0.2)


def test_the_same_file_gives_the_same_copies_and_each_is_another(path: Path) -> None:
    first, again = ([v.image[:] for v in smoothed_volumes([path])] for _ in range(2))
    assert len(first) == COPIES
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], first[1])


def test_copies_go_to_a_shelf_of_a_set_with_a_rule(path: Path, tmp_path: Path) -> None:
    fill(tmp_path / "shelf", source([path]))
    volumes = read(tmp_path / "shelf", read_rules())
    assert [v.name for v in volumes] == [f"MR_Prostate_made_{n}" for n in range(COPIES)]
    assert source([path]).key != source([]).key
