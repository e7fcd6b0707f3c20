"""Volumes with no more voxels than a training looks at."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import LIVER, made_volume, rule  # noqa: E402
from vesal.training.shrink import block_majority, block_means, evenly, shrunk  # noqa: E402
from vesal.training.store import labelled  # noqa: E402

FINE = 2 * 16**3


def enlarged(folder: Path, times: tuple[int, int, int]):
    """The made volume with every voxel repeated, as if scanned that much finer."""
    small = made_volume(folder)
    image, labels = (np.asarray(a) for a in (small.image, small.labels))
    for axis, n in enumerate(times):
        image, labels = image.repeat(n, axis), labels.repeat(n, axis)
    spacing = tuple(s / n for s, n in zip(small.spacing_dhw_mm, times, strict=True))
    return small, labelled(small.name, small.dataset, image, labels, spacing, small.targets)


def test_what_no_view_shows_is_averaged_away(tmp_path: Path) -> None:
    small, large = enlarged(tmp_path, (4, 4, 4))
    # The finest view of the smaller target is as fine as 2 mm allow: 8 voxels, of which 5 become one.
    found = shrunk(large, rule(finest_mm=2.0), FINE)
    assert found.image.shape == tuple(-(-4 * n // 5) for n in small.image.shape)
    assert found.spacing_dhw_mm == pytest.approx((1.25, 1.25, 1.25))
    assert found.targets == large.targets and found.statistics == large.statistics
    for label, place in found.places.items():
        centre, wanted = np.add(place.start, place.stop) / 2 * 1.25, small.places[label]
        assert centre == pytest.approx(np.add(wanted.start, wanted.stop) / 2, abs=1.0)
    assert shrunk(large, rule(finest_mm=2.0, crops=0.9), FINE) is large, "crops are as fine as the file"
    assert shrunk(small, rule(), FINE) is small


def test_a_large_volume_is_thinned_evenly_axes_of_finer_voxels_first(tmp_path: Path) -> None:
    _, large = enlarged(tmp_path, (1, 2, 2))
    voxels = large.image.size
    one = (1.0, 1.0, 1.0)
    assert evenly(one, large, voxels) == (1, 1, 1)
    assert evenly(one, large, voxels - 1) == (1, 2, 2)
    assert evenly(one, large, voxels // 4 - 1) == (2, 3, 3), "all axes, once voxels are as long"
    found = shrunk(large, rule(), FINE, voxels - 1)
    assert found.image.shape == made_volume(tmp_path).image.shape
    assert np.array_equal(found.labels, made_volume(tmp_path).labels)
    assert (found.image[LIVER] == 200).all()


def test_blocks_have_their_mean_and_the_label_of_most(tmp_path: Path) -> None:
    image = np.array([[[0, 1, 4], [2, 5, 4]]], np.uint8)
    labels = np.array([[[7, 7, 3], [7, 0, 3]]], np.uint16)
    assert block_means(image, (1, 2, 2)).tolist() == [[[2, 4]]]
    assert block_majority(labels, (1, 2, 2)).tolist() == [[[7, 3]]]
    assert block_majority(labels, (1, 2, 2)).dtype == np.uint16
    assert block_majority(np.array([[[5, 2]]], np.uint8), (1, 1, 2)).tolist() == [[[2]]], "the smaller of two"


def test_a_target_that_has_no_block_is_left_out(tmp_path: Path) -> None:
    _, large = enlarged(tmp_path, (2, 2, 2))
    labels = np.where(large.labels == 3, 0, large.labels)
    labels[0, 0, 0] = 3
    tiny = labelled("tiny", "CT_Made", large.image, labels, large.spacing_dhw_mm, large.targets)
    found = shrunk(replace(tiny), rule(), FINE, large.image.size - 1)
    assert [t.label for t in tiny.targets] == [1, 3] and [t.label for t in found.targets] == [1]
