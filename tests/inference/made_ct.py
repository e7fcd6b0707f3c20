"""A made CT volume in Hounsfield units, and what the challenge shows of it."""

import numpy as np

SHAPE = (20, 40, 40)
FROM_CENTRE = np.hypot(*(np.indices(SHAPE[1:]) - 20))


def body() -> np.ndarray:
    """(D,H,W) int16: a body of fat and tissue with bone and lungs, in air, in HU."""
    rng = np.random.default_rng(0)
    inside = FROM_CENTRE < 14
    volume = np.round(rng.normal(-1000, 12, SHAPE))
    volume[:, inside] = np.round(rng.normal(30, 50, (SHAPE[0], inside.sum())))
    volume[:, 14:22, 14:18] = np.round(rng.normal(700, 60, (SHAPE[0], 8, 4)))
    volume[:, 24:28, 16:20] = -820
    return volume.astype(np.int16)


def shown(volume: np.ndarray) -> np.ndarray:
    """What the challenge makes of HU."""
    return ((volume.clip(-160, 240) + 160.0) / 400 * 255).astype(np.uint8)
