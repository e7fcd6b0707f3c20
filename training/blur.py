"""A Gaussian blur on any device, and on the processor SciPy's where SciPy is."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

try:
    from scipy.ndimage import gaussian_filter
except ImportError:  # a machine with a GPU that was lent may have torch and little else

    def gaussian_filter(x: np.ndarray, sigma: float) -> np.ndarray:
        """``blurred`` of an array (D, H, W), float32: SciPy's result but for the rounding."""
        return blurred(torch.from_numpy(np.asarray(x, np.float32)), sigma).numpy()


__all__ = ["blurred", "gaussian_filter"]

REACH = 4.0
"""Standard deviations that the kernel reaches to, as SciPy's default."""


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Blur (D, H, W) float32 by ``sigma`` voxels along each axis; the border is mirrored, its voxel twice.

    What ``scipy.ndimage.gaussian_filter`` does by default, with the same reach.
    """
    reach = int(REACH * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = torch.from_numpy((weights / weights.sum()).astype(np.float32)).to(x.device)
    for axis in range(3):
        at = torch.from_numpy(np.pad(np.arange(x.shape[axis]), reach, mode="symmetric")).to(x.device)
        shape = [len(kernel) if a == axis else 1 for a in range(3)]
        x = F.conv3d(x.index_select(axis, at)[None, None], kernel.reshape(1, 1, *shape))[0, 0]
    return x
