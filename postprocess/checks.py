"""Guards for array arguments."""

from __future__ import annotations

import numpy as np


class ArrayShapeError(ValueError):
    """An array does not have the shape that is needed."""


def require_ndim(name: str, array: np.ndarray, ndim: int, axes: str) -> None:
    """Raise `ArrayShapeError` unless `array` has `ndim` axes; `axes`, such as (D,H,W), is for the message."""
    if array.ndim != ndim:
        raise ArrayShapeError(f"{name} has shape {array.shape}; wanted {ndim} axes {axes}")


def require_same_shape(name: str, array: np.ndarray, other_name: str, shape: tuple[int, ...]) -> None:
    """Raise `ArrayShapeError` unless `array`, of any shape, has the shape of `other_name`."""
    if array.shape != tuple(shape):
        raise ArrayShapeError(f"{name} has shape {array.shape}, but {other_name} needs {tuple(shape)}")
