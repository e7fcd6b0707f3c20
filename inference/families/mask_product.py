"""Mask embeddings times features per voxel: the probabilities of any prompts of an encoded window."""

from __future__ import annotations

import numpy as np

from vesal.inference.runtime.blas import one_blas_thread
from vesal.inference.runtime.exact import factor, factor_bits, round_to, value_bits
from vesal.inference.runtime.threads import in_parallel


def mask_probabilities(masks: np.ndarray, features: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Sigmoid of masks times features, added exactly (see `runtime.exact`).

    Plane by plane, so that logits and sigmoid stay in the processor's cache and nothing but the result is
    stored.

    Args:
        masks: (N, C) float32.
        features: (C, D, H, W) float32.
        shape: sides (d, h, w) of the part that is wanted, from the first voxel on; the rest is padding.

    Returns:
        (N, d, h, w) float32, 0..1.
    """
    depth, height, width = shape
    channels = len(features)
    exact_masks = factor(masks, channels)
    exponent = value_bits(features) - factor_bits(channels)
    found = np.empty((len(masks), *shape), np.float32)

    def fill(plane: int) -> None:
        part = features[:, plane, :height, :width].reshape(channels, height * width)
        into = found[:, plane].reshape(len(masks), height * width)
        into[...] = exact_masks @ round_to(part.astype(np.float64), exponent)
        sigmoid(into, out=into)

    with one_blas_thread():
        in_parallel(fill, range(depth))
    return found


def sigmoid(logits: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """1 / (1 + exp(-logits)) in float32, of any shape, in ``out`` if given; 0 and 1 where that overflows."""
    out = np.negative(logits, out=out, dtype=np.float32)
    # exp of more than 88 is infinite in float32, and 1 / (1 + inf) is the 0 that is wanted.
    with np.errstate(over="ignore", under="ignore"):
        np.exp(out, out=out)
    out += 1.0
    return np.reciprocal(out, out=out)
