"""Logits and probabilities, for stages that average logits where windows overlap."""

from __future__ import annotations

import numpy as np

LEAST = 1e-7
"""Probabilities are kept so far from 0 and 1, where logits are infinite."""


def to_probabilities(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-logits)) of float32 in any shape, in place; 0 and 1 where that overflows."""
    np.negative(logits, out=logits)
    with np.errstate(over="ignore", under="ignore"):
        np.exp(logits, out=logits)
    logits += np.float32(1)
    return np.reciprocal(logits, out=logits)


def to_logits(probability: np.ndarray) -> np.ndarray:
    """The logits of probabilities in any shape, float32."""
    clipped = np.clip(probability, LEAST, 1 - LEAST, dtype=np.float64)
    found: np.ndarray = np.log(clipped / (1 - clipped)).astype(np.float32)
    return found
