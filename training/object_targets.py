"""What the head that tells objects apart is to learn: distances to the border, from a map of objects."""

from __future__ import annotations

import numpy as np

from vesal.inference.geometry.views import Triple
from vesal.training.gaps import gaps


def border_distance(labels: np.ndarray, spacing_dhw_mm: Triple) -> np.ndarray:
    """How far inside its object a voxel lies, as a share of the largest such distance in that object.

    Another object is a border as the background is; that of the volume is none, as objects go on beyond it.

    Args:
        labels: (D, H, W) unsigned: 0 is background, and every object has another number.
        spacing_dhw_mm: of the voxels, which may be longer along an axis.

    Returns:
        (D, H, W) float32 above 0 and up to 1 in objects, 0 elsewhere; 1 in an object without any border.
    """
    import edt

    if not labels.any():
        return np.zeros(labels.shape, np.float32)
    _, order = np.unique(labels, return_inverse=True)
    numbered: np.ndarray = order.reshape(labels.shape).astype(np.uint32)
    if not (labels == 0).any():
        numbered += np.uint32(1)
    distance = edt.edt(numbered, anisotropy=spacing_dhw_mm, black_border=False)
    distance[~np.isfinite(distance)] = 1.0
    most = np.zeros(int(numbered.max()) + 1, np.float32)
    np.maximum.at(most, numbered.ravel(), distance.ravel())
    most[most == 0] = 1
    share = distance / most[numbered]
    return np.where(numbered > 0, share, 0).astype(np.float32)


def touching_faces(labels: np.ndarray) -> np.ndarray:
    """(D, H, W) bool: voxels of an object beside those of another one, along an axis."""
    backwards = (slice(None, None, -1),) * labels.ndim
    return gaps(labels) | gaps(labels[backwards])[backwards]
