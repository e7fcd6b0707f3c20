"""Classes of a running case (``planning.classes``) as prompts: in the written label map, and as masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vesal.inference.planning.plan import Plan


def written_labels(labels: np.ndarray, plan: Plan) -> np.ndarray:
    """(D, H, W) classes -> prompt ids; the same array where each class is its prompt's id."""
    if all(each == id_ for each, id_ in plan.written_as.items()):
        return labels
    ids = np.arange(max((int(labels.max(initial=0)), *plan.written_as)) + 1, dtype=labels.dtype)
    ids[list(plan.written_as)] = list(plan.written_as.values())
    return ids[labels]


@dataclass(frozen=True, eq=False)
class ClassMasks:
    """The whole mask of each prompt, also where another prompt has its voxels in the label map."""

    labels: np.ndarray
    """(D, H, W) unsigned classes, before objects were split"""
    classes: Mapping[int, tuple[int, ...]]
    """as ``Plan.classes``"""

    def of(self, prompt_id: int) -> np.ndarray:
        """(D, H, W) bool."""
        return np.isin(self.labels, self.classes.get(prompt_id, (prompt_id,)))
