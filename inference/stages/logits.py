"""Logits and probabilities, for stages that average logits where windows overlap."""

from __future__ import annotations

import numpy as np

LEAST = 1e-7
"""Probabilities are kept so far from 0 and 1, where logits are infinite."""
UNSEEN = -16.0
"""Logit of a window in which nothing can be seen, as it is not run."""
STEEP, LARGEST = 4.0, 100.0
"""Logits between which probabilities keep their order, see ``to_ordered_probabilities``."""


def to_probabilities(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-logits)) of float32 in any shape, in place; 0 and 1 where that overflows."""
    np.negative(logits, out=logits)
    with np.errstate(over="ignore", under="ignore"):
        np.exp(logits, out=logits)
    logits += np.float32(1)
    return np.reciprocal(logits, out=logits)


def to_ordered_probabilities(logits: np.ndarray) -> np.ndarray:
    """As ``to_probabilities``, but float32 numbers near 1 do not run together.

    Float32 in any shape, in place. From ``STEEP`` on they grow in proportion to the logit, so that the larger
    of two logits up to ``LARGEST`` stays the larger one where they differ by 0.0005 or more.
    """
    high = logits > STEEP
    above = (logits[high] - STEEP) / np.float32(LARGEST - STEEP)
    to_probabilities(logits)
    last = to_probabilities(np.full(1, STEEP, np.float32))
    logits[high] = np.minimum(last + (1 - last) * above, 1)
    return logits


def to_logits(probability: np.ndarray) -> np.ndarray:
    """The logits of probabilities in any shape, float32."""
    clipped = np.clip(probability, LEAST, 1 - LEAST, dtype=np.float64)
    found: np.ndarray = np.log(clipped / (1 - clipped)).astype(np.float32)
    return found
