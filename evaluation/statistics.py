"""Means with intervals, and paired tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan

import numpy as np

RESAMPLES = 5000
"""Bootstrap samples: the ends of a 95 % interval then rest on 125 samples each."""

SEED = 20250101


@dataclass(frozen=True)
class Summary:
    """Mean and median of some scores, with the 95 % bootstrap interval of the mean."""

    count: int
    mean: float
    median: float
    low: float
    high: float


def summarize(values: Sequence[float], seed: int = SEED) -> Summary:
    """Summarize the values that are not NaN; none gives NaN, a single one has no interval."""
    known = np.array([v for v in values if not np.isnan(v)], dtype=float)
    if not len(known):
        return Summary(0, nan, nan, nan, nan)
    low, high = bootstrap_interval(known, seed) if len(known) > 1 else (nan, nan)
    return Summary(len(known), float(known.mean()), float(np.median(known)), low, high)


def bootstrap_interval(values: np.ndarray, seed: int = SEED, share: float = 0.95) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of (n,); the same values give the same one."""
    rng = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    for i in range(RESAMPLES):  # one sample at a time: all at once needs 8 bytes x samples x values
        means[i] = values[rng.integers(0, len(values), len(values))].mean()
    low, high = np.quantile(means, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def signed_rank(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test of paired scores; NaN pairs are left out.

    1 when no pair differs; NaN without pairs.
    """
    from scipy.stats import wilcoxon

    difference = np.asarray(second, dtype=float) - np.asarray(first, dtype=float)
    difference = difference[~np.isnan(difference)]
    if not len(difference):
        return nan
    if not difference.any():
        return 1.0
    return float(wilcoxon(difference).pvalue)
