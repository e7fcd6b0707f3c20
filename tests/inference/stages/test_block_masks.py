"""Complementary block masks: half of the blocks, whole ones, the same every time."""

import numpy as np
import pytest

from vesal.inference.stages.block_masks import half_of_blocks


@pytest.mark.parametrize(
    ("shape", "block", "seen"),
    [((16, 16, 16), 8, 4 * 512), ((32, 16, 16), 16, 4096), ((4, 4, 4), 8, 64), ((8, 8, 24), 8, 512)],
)
def test_half_of_the_blocks_are_seen(shape: tuple[int, int, int], block: int, seen: int) -> None:
    """8 blocks: 4; 2 blocks: 1; a single block: that one; 3 blocks: 1."""
    mask = half_of_blocks(shape, block)
    assert (mask.shape, mask.dtype) == (shape, bool)
    assert np.count_nonzero(mask) == seen
    np.testing.assert_array_equal(mask, half_of_blocks(shape, block))


def test_blocks_at_the_end_are_cut() -> None:
    """20 voxels in blocks of 8: 8, 8 and 4, each all seen or all hidden."""
    mask = half_of_blocks((20, 20, 20), 8)
    for d in (0, 8, 16):
        for h in (0, 8, 16):
            for w in (0, 8, 16):
                assert len(np.unique(mask[d : d + 8, h : h + 8, w : w + 8])) == 1
