"""Two predictions of one window, of which each saw half of the blocks of its spatial prompt (Medal S 2.4)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vesal.inference.families.contract import Decoded


def merge_halves(first: Decoded, second: Decoded, half: np.ndarray | None) -> Decoded:
    """Merge both, and the larger presence.

    Args:
        first: is written to.
        second: of the same window.
        half: (d, h, w) bool, the blocks whose prompt the first saw: each voxel takes the prediction from
            which its prompt was hidden; None: the mean of both.
    """
    for mine, other in ((first.probability, second.probability), (first.edges, second.edges)):
        if mine is None or other is None:
            continue
        if half is not None:
            np.copyto(mine, other, where=half)
        else:
            mine += other
            mine /= 2
    if first.presence is None or second.presence is None:
        return first
    return replace(first, presence=np.maximum(first.presence, second.presence))
