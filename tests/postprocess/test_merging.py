"""Merging by the highest probability."""

import numpy as np
import pytest

from vesal.postprocess.merging import merge_classes


def row(*values: float) -> np.ndarray:
    """(n,) float32."""
    return np.array(values, np.float32)


def test_background_counts_before_all_and_the_first_before_the_others() -> None:
    first, second = row(0.5, 0.6, 0.7, 0.2, 0.9), row(0.5, 0.6, 0.8, 0.4, 0.5)
    assert merge_classes([(7, first), (3, second)]).tolist() == [0, 7, 3, 0, 7]
    assert merge_classes([(3, second), (7, first)]).tolist() == [0, 3, 3, 0, 7]
    assert merge_classes([(3, second), (7, first)], background=0.3).tolist() == [3, 3, 3, 3, 7]


def test_it_is_the_argmax_of_background_and_all() -> None:
    probability = np.random.default_rng(0).integers(0, 5, (4, 3, 5, 7)).astype(np.float32) / 4
    found = merge_classes(zip((1, 300, 2, 9), probability, strict=True))
    stacked = np.concatenate([np.full((1, 3, 5, 7), 0.5, np.float32), probability])
    np.testing.assert_array_equal(found, np.array([0, 1, 300, 2, 9])[stacked.argmax(0)])
    assert found.dtype == np.uint16
    assert merge_classes([(255, probability[0])]).dtype == np.uint8


def test_no_class_has_no_shape() -> None:
    with pytest.raises(ValueError, match="no classes"):
        merge_classes([])
