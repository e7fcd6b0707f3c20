"""What the stage before found outside of a refined view: a second lesion far from the first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vesal.inference.geometry.views import View
from vesal.inference.stages.stage_result import Latest


def outside_of(before: Latest, refined: View) -> Latest:
    """A result whose voxels inside of the refined view are 0: there the refined result counts.

    Args:
        before: of the stage before, (d, h, w) on its view.
        refined: view of the stage after.
    """
    probability = before.probability.copy()
    box, view = refined.box, before.view
    inside = []
    for axis in range(3):
        centre = view.start[axis] + (np.arange(view.shape[axis]) + 0.5) * view.step[axis]
        inside.append((centre >= box.start[axis]) & (centre < box.stop[axis]))
    probability[np.ix_(*inside)] = 0
    result = replace(before.result, probability=probability[None], edges=None)
    return Latest(result, 0, before.threshold)
