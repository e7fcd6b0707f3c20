"""Presence of a target in each slice, by the largest logit there.

VoxTell has no gate: it was trained with prompts of what is absent, and says so by low logits alone. The
released code asks no more than a logit above 0 of each voxel.
"""

from __future__ import annotations

import numpy as np

from vesal.inference.data.errors import ProfileError
from vesal.inference.planning.manifest import MANIFEST
from vesal.inference.planning.profile import Profile
from vesal.postprocess.rule import SliceRule


def slice_presence(logits: np.ndarray, logit: float) -> np.ndarray:
    """Presence for the rules of ``postprocess``: 0.5 where the largest logit of a slice is just ``logit``.

    Args:
        logits: (N, d, h, w) float of N targets; slices are those along the first axis of the window.
        logit: from which a target counts as present; 0 empties no slice that has a voxel.

    Returns:
        (N, d) float32 0..1, the sigmoid of what the largest logit is above ``logit``; of slices without
        voxels 0.
    """
    highest = logits.max(axis=(2, 3), initial=-np.inf).astype(np.float32) - np.float32(logit)
    # exp of half of it cannot overflow for any logit that float16 holds.
    return (0.5 * (1 + np.tanh(0.5 * highest))).astype(np.float32)


def check_presence(profile: Profile, logit: float | None) -> None:
    """Raise ProfileError where presence is told, by ``logit``, and no rule of the profile uses it."""
    if logit is not None and not any(isinstance(rule, SliceRule) for rule in profile.postprocess):
        raise ProfileError(
            f"{profile.folder / MANIFEST}: `$.presence_logit` is {logit:g}, but no rule of `$.postprocess` "
            'uses presence. Add {"rule": "presence"} or {"rule": "slices"}, or leave the field out.'
        )
