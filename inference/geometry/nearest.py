"""Nearest neighbours along one axis, to the voxel as torch's ``interpolate`` takes them."""

from __future__ import annotations

import numpy as np


def nearest(n_out: int, n_in: int) -> np.ndarray:
    """The input of each output, (n_out,) int64, in mode ``nearest``: floor(i n_in / n_out) in float32."""
    scale = np.float32(n_in) / np.float32(n_out)
    return _inside(np.arange(n_out, dtype=np.float32) * scale, n_in)


def nearest_exact(n_out: int, n_in: int) -> np.ndarray:
    """The input of each output, (n_out,) int64, in mode ``nearest-exact``: the one that holds its centre.

    The place is rounded once to float32, as a distance from the first centre: multiplied and subtracted in
    one step of the processor. This decides where two inputs are equally near.
    """
    scale = float(np.float32(n_in) / np.float32(n_out))
    place = ((np.arange(n_out) + 0.5) * scale - 0.5).astype(np.float32)
    return _inside(np.maximum(place, np.float32(0)) + np.float32(0.5), n_in)


def _inside(places: np.ndarray, n_in: int) -> np.ndarray:
    found: np.ndarray = np.minimum(np.floor(places).astype(np.int64), n_in - 1)
    return found
