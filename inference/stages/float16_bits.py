"""float16 (11 significant bits) as integers: numpy converts it one number at a time.

Probabilities are rounded to this precision once and compared in it, so storing, cutting into slabs and
compressing do not change the result.
"""

from __future__ import annotations

import numpy as np

MIN_NORMAL = 2.0**-14
"""The smallest normal number of float16; a probability below it counts as 0."""

_BIAS = 112 << 23
"""Difference of the exponent biases of float32 (127) and float16 (15), in float32's exponent bits."""
_DROPPED = 13
"""Bits by which float16's fraction is shorter."""
_HALFWAY = 1 << (_DROPPED - 1)


def float16_bits(values: np.ndarray) -> np.ndarray:
    """Numbers of ``MIN_NORMAL`` or more, any shape, as float16 (nearest, ties up) read as uint16.

    Integers keep the order, and numpy compares and multiplies them faster. Undefined below ``MIN_NORMAL``.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    bits = bits - np.uint32(_BIAS - _HALFWAY)
    bits >>= np.uint32(_DROPPED)
    return bits.astype(np.uint16)


def round_to_float16(values: np.ndarray) -> np.ndarray:
    """Probabilities of any shape rounded to float16, as float32; 0 where below ``MIN_NORMAL`` or NaN."""
    values = np.ascontiguousarray(values, np.float32)
    bits = values.view(np.uint32) + np.uint32(_HALFWAY)
    bits >>= np.uint32(_DROPPED)
    bits <<= np.uint32(_DROPPED)
    bits *= values >= np.float32(MIN_NORMAL)
    return bits.view(np.float32)


def to_bits(values: np.ndarray) -> np.ndarray:
    """What ``round_to_float16`` gave, any shape, as float16 read as uint16: no loss, 0 stays 0."""
    bits = values.view(np.uint32) - np.uint32(_BIAS)
    bits >>= np.uint32(_DROPPED)
    bits *= values > 0
    return bits.astype(np.uint16)


def from_bits(bits: np.ndarray) -> np.ndarray:
    """What ``to_bits`` took, float32 of any shape."""
    wide = bits.astype(np.uint32)
    wide <<= np.uint32(_DROPPED)
    wide += np.uint32(_BIAS)
    wide *= bits > 0
    return wide.view(np.float32)
