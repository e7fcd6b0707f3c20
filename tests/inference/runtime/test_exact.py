"""Exact sums: no kernel of the numerical library changes a bit of a result."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesal.inference.runtime.exact import factor, factor_bits, value_bits

ROOT = Path(__file__).resolve().parents[3]
KERNELS = ("Nehalem", "Haswell", "Prescott")
"""Of OpenBLAS, with and without fused multiplication; other libraries do not know the names."""
PRODUCTS = {
    "views": """
from vesal.inference.geometry.resample import to_view
from vesal.inference.geometry.views import View
view = View((-3.0, 2.0, 0.5), (2.7, 1.9, 3.3), (16, 32, 16), 0, 0)
found = [to_view(rng.integers(0, 256, (40, 61, 53), np.uint8), view),
         to_view(rng.random((40, 61, 53), np.float32), view)]
""",
    "between views": """
from vesal.inference.geometry.resample import between
from vesal.inference.geometry.views import View
source = View((0.0, 0.0, 0.0), (2.7, 1.9, 3.3), (16, 32, 16), 0, 0)
target = View((4.0, 9.0, 5.5), (1.3, 1.1, 1.7), (16, 32, 16), 0, 0)
found = [between(rng.random(source.shape, np.float32), source, target)]
""",
    "published resampling": """
from vesal.inference.families.published.resampling import corner_resample, resample
volume = rng.normal(size=(23, 31, 37)).astype(np.float32)
found = [resample(volume, (31, 29, 50), 0), corner_resample(volume, (31, 29, 50))]
""",
    "masks times features": """
from vesal.inference.families.mask_product import mask_probabilities
features = rng.normal(size=(48, 6, 32, 32)).astype(np.float32)
found = [mask_probabilities(rng.normal(size=(9, 48)).astype(np.float32), features, (6, 30, 31))]
""",
    "the nearest sentence": """
from vesal.inference.prompts.sentence_encoder import Bank, SentenceEncoder
vectors = rng.normal(size=(300, 384)).astype(np.float32)
bank = Bank(("",) * 300, ("thing",) * 300, vectors)
encoder = SentenceEncoder.__new__(SentenceEncoder)
encoder.__dict__.update(bank=bank, encode=lambda texts: vectors[:1] * np.float32(0.3))
found = [np.array(encoder.nearest("any")[1])]
""",
}
PROGRAM = """
import hashlib
import numpy as np
rng = np.random.default_rng(0)
{code}
print([hashlib.sha256(np.ascontiguousarray(each)).hexdigest() for each in found])
"""


def printed(code: str, kernel: str | None) -> str:
    """What a program prints where OpenBLAS is told which kernel to use."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    environment.pop("OPENBLAS_CORETYPE", None)
    if kernel is not None:
        environment["OPENBLAS_CORETYPE"] = kernel
    command = [sys.executable, "-c", PROGRAM.format(code=code)]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.mark.parametrize("what", PRODUCTS)
def test_no_kernel_changes_a_bit(what: str) -> None:
    by_default = printed(PRODUCTS[what], None)
    assert by_default.count("'") >= 2
    for kernel in KERNELS:
        assert printed(PRODUCTS[what], kernel) == by_default, kernel


@given(st.integers(1, 400), st.integers(0, 2**32 - 1), st.floats(-20, 20))
def test_sums_are_exact_in_any_order(terms: int, seed: int, exponent: float) -> None:
    rng = np.random.default_rng(seed)
    one, other = (factor(rng.normal(size=terms) * 2.0**exponent, terms) for _ in range(2))
    total = one @ other
    order = rng.permutation(terms)
    assert total == one[order] @ other[order] == sum(one[order] * other[order])


def test_factors_are_as_good_as_float32() -> None:
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    away = np.abs(factor(values, 128) - values).max()
    assert away <= np.abs(values).max() * 2.0**-22
    assert factor_bits(128) == 23 and factor_bits(1) == 26


def test_bits_of_values() -> None:
    assert value_bits(np.array([0.0])) == 0
    assert value_bits(np.array([3.0, -5.0])) == 3
    assert value_bits(np.array([np.nan, np.inf])) == 0
    assert value_bits(np.zeros(0)) == 0
