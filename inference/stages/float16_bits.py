"""Half precision (11 significant bits) on integers: what numpy does for halves one number at a time.

Probabilities leave the windows with this precision, and the label map compares them with it, so it does not
matter where on the way they were stored, cut into slabs or compressed.
"""

from __future__ import annotations

import numpy as np

MIN_NORMAL = 2.0**-14
"""The smallest normal number of half precision; a probability below this is none."""

_BIAS = 112 << 23
"""Between the exponents of single (127) and half precision (15), at the place of the former."""
_DROPPED = 13
"""Bits of the fraction that half precision has less."""
_HALFWAY = 1 << (_DROPPED - 1)


def float16_bits(values: np.ndarray) -> np.ndarray:
    """Numbers of ``MIN_NORMAL`` or more as half precision, rounded to nearest (ties up), read as uint16.

    Read so they keep their order, and integers compare and multiply many at a time. Less than ``MIN_NORMAL``
    gives nonsense.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    bits = bits - np.uint32(_BIAS - _HALFWAY)
    bits >>= np.uint32(_DROPPED)
    return bits.astype(np.uint16)


def round_to_float16(values: np.ndarray) -> np.ndarray:
    """Probabilities to the precision of halves: float32; 0 where below ``MIN_NORMAL``, negative or NaN."""
    values = np.ascontiguousarray(values, np.float32)
    bits = values.view(np.uint32) + np.uint32(_HALFWAY)
    bits >>= np.uint32(_DROPPED)
    bits <<= np.uint32(_DROPPED)
    bits *= values >= np.float32(MIN_NORMAL)
    return bits.view(np.float32)


def to_bits(values: np.ndarray) -> np.ndarray:
    """What ``round_to_float16`` gave as half precision, read as uint16; without loss, 0 stays 0."""
    bits = values.view(np.uint32) - np.uint32(_BIAS)
    bits >>= np.uint32(_DROPPED)
    bits *= values > 0
    return bits.astype(np.uint16)


def from_bits(bits: np.ndarray) -> np.ndarray:
    """What ``to_bits`` took, as float32."""
    wide = bits.astype(np.uint32)
    wide <<= np.uint32(_DROPPED)
    wide += np.uint32(_BIAS)
    wide *= bits > 0
    return wide.view(np.float32)
