"""Sums of products that no kernel of a numerical library can change.

Kernels, picked by the processor, add in different orders. Where factors are multiples of a fixed unit and
have few enough bits, every sum is exact in float64, whatever the order.
"""

from __future__ import annotations

import math

import numpy as np

MANTISSA_BITS = 53
"""Of float64: whole numbers up to 2^53 are exact."""


def factor_bits(terms: int) -> int:
    """Bits that each of two factors may have where ``terms`` products are added."""
    return (MANTISSA_BITS - max(0, math.ceil(math.log2(max(1, terms))))) // 2


def value_bits(values: np.ndarray) -> int:
    """The least b so that no value of any shape exceeds 2^b; 0 for none, and where some is not finite."""
    largest = max(float(values.max(initial=0)), -float(values.min(initial=0)))
    return int(np.frexp(largest)[1]) if math.isfinite(largest) else 0


def round_to(values: np.ndarray, exponent: int) -> np.ndarray:
    """Round float64 of any shape to the nearest multiples of 2^exponent, in place, and return it."""
    values *= 2.0**-exponent
    np.rint(values, out=values)
    values *= 2.0**exponent
    return values


def factor(values: np.ndarray, terms: int) -> np.ndarray:
    """A copy of numbers of any shape as float64, good to 2^-23 of the largest of up to 128 terms."""
    return round_to(values.astype(np.float64), value_bits(values) - factor_bits(terms))
