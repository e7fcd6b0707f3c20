"""Spatial prompts as the fine stage will meet them: the network's own coarse result, and its errors.

Medal S algorithm 1 drops blocks, adds blocks and empties whole channels of a prompt made from the ground
truth. Here the prompt starts from the coarse stage of the network in training, which brings the errors that
this network makes, and is spoiled further, because on its own training patients the coarse stage errs less
than on others.
"""

from __future__ import annotations

import numpy as np

DROP_CHANNEL, DROP_BLOCKS, ADD_BLOCKS, HARDEN, SHIFT = 0.15, 0.3, 0.15, 0.25, 0.25
"""Probabilities of each corruption, independent of each other."""
BLOCK = 8
"""Side of a block in view voxels (Medal S uses 4 and 8)."""


def _blocks(shape: tuple[int, ...], share: float, rng: np.random.Generator) -> np.ndarray:
    grid = [-(-n // BLOCK) for n in shape]
    chosen = rng.random(grid) < share
    for axis in range(3):
        chosen = chosen.repeat(BLOCK, axis)
    return chosen[: shape[0], : shape[1], : shape[2]]


def spoil(prompt: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Corrupt a copy of ``prompt`` (N, D, H, W) float32 0..1, each class by itself."""
    out = prompt.copy()
    for channel in out:
        if rng.random() < SHIFT:
            amount = rng.integers(-3, 4, 3)
            channel[:] = np.roll(channel, amount, (0, 1, 2))
        if rng.random() < DROP_BLOCKS:
            channel[_blocks(channel.shape, rng.uniform(0.1, 0.6), rng)] = 0
        if rng.random() < ADD_BLOCKS:
            channel[_blocks(channel.shape, rng.uniform(0.01, 0.1), rng)] = rng.uniform(0.5, 1)
        if rng.random() < HARDEN:
            channel[:] = channel > rng.uniform(0.3, 0.7)
        if rng.random() < DROP_CHANNEL:
            channel[:] = 0
    return out
