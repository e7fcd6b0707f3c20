"""Masks times features, and their sigmoid."""

import numpy as np

from vesal.inference.families.mask_product import mask_probabilities, sigmoid


def test_probabilities_are_the_sigmoid_of_the_product_without_the_padding() -> None:
    rng = np.random.default_rng(0)
    masks = rng.normal(size=(3, 4)).astype(np.float32)
    features = rng.normal(size=(4, 6, 8, 10)).astype(np.float32)
    found = mask_probabilities(masks, features, (5, 8, 7))
    wanted = 1 / (1 + np.exp(-np.einsum("nc,cdhw->ndhw", masks.astype(np.float64), features)))
    assert found.shape == (3, 5, 8, 7) and found.dtype == np.float32 and found.flags.c_contiguous
    assert np.abs(found - wanted[:, :5, :, :7]).max() < 1e-6


def test_no_prompts_are_no_probabilities() -> None:
    found = mask_probabilities(np.zeros((0, 4), np.float32), np.zeros((4, 2, 2, 2), np.float32), (2, 2, 2))
    assert found.shape == (0, 2, 2, 2)


def test_sigmoid_bears_any_logit() -> None:
    with np.errstate(all="raise"):
        found = sigmoid(np.array([-1e4, -100.0, 0.0, 2.0, 1e4]))
    assert found.dtype == np.float32
    assert np.allclose(found, [0, 0, 0.5, 0.8807971, 1])
