"""Complementary block masks of the spatial prompt (Medal S 2.4)."""

from __future__ import annotations

import numpy as np

BLOCK_SEED = 20250
"""Seed of the complementary blocks; fixed, so that the same input gives the same bytes."""


def half_of_blocks(shape: tuple[int, int, int], block: int) -> np.ndarray:
    """(d, h, w) bool, True in a seeded random half of the blocks of ``block`` voxels a side (Medal S 2.4)."""
    grid = tuple(-(-n // block) for n in shape)
    count = int(np.prod(grid))
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng(BLOCK_SEED).permutation(count)[: max(1, count // 2)]] = True
    mask = chosen.reshape(grid)
    for axis in range(3):
        mask = mask.repeat(block, axis)
    return mask[: shape[0], : shape[1], : shape[2]]
