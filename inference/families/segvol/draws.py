"""The points of a zoom-in window that the released code draws at random, here the same each time.

As released: of the marked voxels in the window one at random, then up to four others of a random order, in
which the first may come again; where there are fewer, points that say nothing take their place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

NOTHING = -1.0
"""Coordinate and label of a point that says nothing."""
Points = tuple[np.ndarray, np.ndarray]
"""(K, 3) float32 voxels of the window, and (K,) float32: 1 foreground, 0 background, -1 nothing."""
DrawPoints = Callable[[bytes, str, tuple[int, ...], np.ndarray, int], Points]
"""As ``draw_points``; a recorded choice can stand in for it."""


def draw_points(case: bytes, prompt: str, window: tuple[int, ...], marked: np.ndarray, extra: int) -> Points:
    """Choose points of one window.

    Args:
        case: what tells the case from others.
        prompt: what tells the prompt from others of the case.
        window: its first voxel in the volume.
        marked: (n, 3) voxels of the window that the user's points fall on, in the order of the array.
        extra: points beside the first one.

    Returns:
        one point and the extra ones, or where nothing is marked a single one that says nothing.
    """
    if not len(marked):
        return np.full((1, 3), NOTHING, np.float32), np.full(1, NOTHING, np.float32)
    generator = np.random.Generator(np.random.Philox(key=draw_key(case, prompt, window)))
    rows = [int(generator.integers(len(marked))), *generator.permutation(len(marked))[:extra]]
    points = np.full((1 + extra, 3), NOTHING, np.float32)
    labels = np.full(1 + extra, NOTHING, np.float32)
    points[: len(rows)], labels[: len(rows)] = marked[rows], 1.0
    return points, labels


def draw_key(case: bytes, prompt: str, window: tuple[int, ...]) -> int:
    """128 bits that tell case, prompt and window; lengths are in it, so that no two can be joined alike."""
    text = prompt.encode("utf-8", "replace")
    place = ",".join(map(str, window)).encode()
    digest = hashlib.sha256(b"%d %d %s " % (len(case), len(text), place) + case + text).digest()
    return int.from_bytes(digest[:16], "little")
