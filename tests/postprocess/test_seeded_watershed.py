"""Objects by a watershed of distances: by hand, in ideal and in bad distances, and its bounds."""

import numpy as np
import pytest

from vesal.postprocess.checks import ArrayShapeError
from vesal.postprocess.instances import split_instances
from vesal.postprocess.rule import ClassPart, Cut
from vesal.postprocess.seeded_watershed import SeededWatershed, cut_by_seeds
from vesal.postprocess.watershed import smoothed

MM = (1.0, 1.0, 1.0)


def cut(mask: np.ndarray, height: np.ndarray, rule: SeededWatershed | None = None, **kwargs) -> Cut:
    """The objects of a mask, with heights (D,H,W) at hand."""
    return cut_by_seeds(mask, lambda planes: 1 - height[planes], MM, rule or SeededWatershed(), **kwargs)


def touching() -> tuple[np.ndarray, np.ndarray]:
    """Three boxes side by side, of 9, 5 and 5 voxels' width: labels (11, 11, 21), heights as shares."""
    labels = np.zeros((11, 11, 21), np.uint8)
    height = np.zeros(labels.shape, np.float32)
    for label, (first, width) in enumerate(((1, 9), (10, 5), (15, 5)), 1):
        at = np.arange(width)
        across = np.minimum(at + 1, width - at) / ((width + 1) / 2)
        inner = np.minimum(np.arange(9) + 1, 9 - np.arange(9)) / 5
        box = np.minimum(np.minimum(inner[:, None, None], inner[None, :, None]), across[None, None])
        labels[1:10, 1:10, first : first + width] = label
        height[1:10, 1:10, first : first + width] = box
    return labels, height


def same_objects(pieces: np.ndarray, labels: np.ndarray) -> float:
    """Share of the voxels that lie in the piece that has most of their object."""
    right = sum(np.bincount(pieces[labels == n]).max() for n in np.unique(labels[labels > 0]))
    return float(right / (labels > 0).sum())


def test_boxes_that_touch_on_whole_faces_are_told_apart_whatever_their_size() -> None:
    labels, height = touching()
    assert split_instances(labels > 0).max() == 1
    found = cut(labels > 0, height)
    assert len(found.sizes) == 3
    assert same_objects(found.pieces, labels) > 0.95
    assert np.array_equal(found.pieces > 0, labels > 0)
    assert np.array_equal(np.bincount(found.pieces.ravel())[1:], found.sizes)


def test_noise_and_blur_do_not_split_an_object() -> None:
    labels, height = touching()
    rng = np.random.default_rng(0)
    bad = smoothed(height, (0.7, 0.7, 0.7)) + 0.03 * rng.normal(size=height.shape).astype(np.float32)
    found = cut(labels > 0, np.clip(bad, 0, 1))
    assert len(found.sizes) == 3
    assert same_objects(found.pieces, labels) > 0.9


def test_less_depth_than_asked_for_is_one_object() -> None:
    labels, height = touching()
    assert len(cut(labels > 0, height, SeededWatershed(min_depth=1.0)).sizes) == 1
    assert len(cut(labels > 0, 0.9 + 0.1 * height).sizes) == 1


def test_what_never_rises_or_is_too_small_is_dropped() -> None:
    labels, height = touching()
    apart, low = (labels == 1) | (labels == 3), np.where(labels == 3, 0.2 * height, height)
    assert len(cut(apart, low).sizes) == 2
    for rule in (SeededWatershed(min_peak=0.4), SeededWatershed(min_voxels=500)):
        found = cut(apart, low, rule)
        assert found.sizes.tolist() == [(labels == 1).sum()]
        assert np.array_equal(found.pieces > 0, labels == 1)


def test_without_edges_or_time_objects_are_components() -> None:
    labels, height = touching()
    part = ClassPart((labels > 0).astype(np.uint8) * 7, height, 7, MM)
    found = SeededWatershed().cut(part, lambda seconds: True)
    assert found.sizes.tolist() == [(labels > 0).sum()] and found.left_whole == 0
    late = cut(labels > 0, height, affords=lambda seconds: False)
    assert late.sizes.tolist() == found.sizes.tolist() and late.left_whole == 1


def test_an_empty_mask_has_no_objects_and_a_plane_is_refused() -> None:
    empty = np.zeros((4, 4, 4), bool)
    assert len(cut(empty, np.zeros(empty.shape, np.float32)).sizes) == 0
    with pytest.raises(ArrayShapeError):
        cut_by_seeds(empty[0], None, MM, SeededWatershed())


def test_what_is_not_known_is_inside_and_the_bytes_are_the_same() -> None:
    labels, height = touching()
    gaps = np.where(np.arange(21) == 5, np.nan, height)
    assert len(cut(labels > 0, gaps).sizes) == 3
    assert cut(labels > 0, gaps).pieces.tobytes() == cut(labels > 0, gaps).pieces.tobytes()
