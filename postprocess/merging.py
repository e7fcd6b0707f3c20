"""One label for each voxel from the probabilities of several targets, where they lie on one grid."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def merge_classes(classes: Iterable[tuple[int, np.ndarray]], background: float = 0.5) -> np.ndarray:
    """The most probable of some targets and background, as BiomedParse-V merges them.

    Args:
        classes: ids, 1 or more, each with its probability, all of one shape; read one after the other.
        background: its probability. Of equal ones background counts before all targets, and a target before
            those that come after it.

    Returns:
        unsigned ids of that shape; 0 is background. The type is the smallest that holds the ids.

    Raises:
        ValueError: there are no classes, and so no shape.
    """
    labels: np.ndarray | None = None
    for id_, probability in classes:
        if labels is None:
            labels = np.zeros(probability.shape, np.uint8)
            best = np.full(probability.shape, background, np.float32)
        labels = labels.astype(np.promote_types(labels.dtype, np.min_scalar_type(id_)), copy=False)
        wins = probability > best
        labels[wins] = id_
        np.copyto(best, probability, where=wins, casting="same_kind")
    if labels is None:
        raise ValueError("no classes to merge; give one at least")
    return labels
