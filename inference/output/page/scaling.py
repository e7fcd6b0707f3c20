"""Slices at the size of a picture, in the proportions of millimetres."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def picture_size(size_mm: tuple[float, float], side: int) -> tuple[int, int]:
    """Rows and columns of a picture whose longer side has ``side`` pixels, none below one."""
    longest = max(size_mm)
    height, width = (max(1, round(side * mm / longest)) for mm in size_mm)
    return height, width


def resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(rows, columns) numbers at another size, float32: linear, averaged where pixels become fewer."""
    return _rows_resized(_rows_resized(values, size[0]).T, size[1]).T


def resized_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A (rows, columns) mask at another size; what is thinner than a pixel stays."""
    share = resized(mask, size)
    return share >= max(min(0.5, 0.5 * float(share.max())), 1e-6)


def picked(labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(rows, columns) labels at another size: those under the centres of the new pixels."""
    rows, columns = (
        ((np.arange(n) + 0.5) * (have / n)).astype(np.int64)
        for have, n in zip(labels.shape, size, strict=True)
    )
    return labels[rows][:, columns]


def _rows_resized(values: np.ndarray, n_out: int) -> np.ndarray:
    first, weights = _band(values.shape[0], n_out)
    out = np.zeros((n_out, values.shape[1]), np.float32)
    for tap, weight in enumerate(weights.T):
        out += weight[:, None] * values[first + tap]
    return out


@lru_cache(maxsize=32)
def _band(n_in: int, n_out: int) -> tuple[np.ndarray, np.ndarray]:
    """First input and (n_out, taps) weights: a triangle as wide as a step where that is more than a pixel."""
    step = n_in / n_out
    width = max(1.0, step)
    taps = min(n_in, int(np.ceil(2 * width)))
    centre = np.clip((np.arange(n_out) + 0.5) * step - 0.5, 0, n_in - 1)
    first = np.clip(np.floor(centre - width).astype(np.int64) + 1, 0, n_in - taps)
    weights = np.maximum(0.0, 1.0 - np.abs(first[:, None] + np.arange(taps) - centre[:, None]) / width)
    return first, (weights / weights.sum(1, keepdims=True)).astype(np.float32)
