"""What a query has on views, on the volume's own grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vesal.inference.geometry.resample import to_native
from vesal.inference.geometry.views import View
from vesal.inference.stages.grid_labels import Box

OnView = tuple[Callable[[], np.ndarray], View]
"""What gives values (d, h, w) float32 0..1, and the view on which they lie."""


def take_larger(
    out: np.ndarray, values: np.ndarray, view: View, corner: tuple[int, int, int] = (0, 0, 0)
) -> None:
    """Maximum of a part of a volume (d, h, w) float32 and what a view has there, in place.

    Args:
        out: the part.
        values: of the view's shape, float32.
        view: where they lie.
        corner: first voxel (D, H, W) of the part.
    """
    box = view.box
    first = [max(c, round(a)) for c, a in zip(corner, box.start, strict=True)]
    stop = [min(c + n, round(b)) for c, n, b in zip(corner, out.shape, box.stop, strict=True)]
    if any(b <= a for a, b in zip(first, stop, strict=True)):
        return
    at = tuple(slice(a - c, b - c) for a, b, c in zip(first, stop, corner, strict=True))
    (z, y, x), (d, h, w) = first, (b - a for a, b in zip(first, stop, strict=True))
    np.maximum(out[at], to_native(values, view, (z, y, x), (d, h, w)), out=out[at])


def planes_of(views: Sequence[OnView], box: Box) -> Callable[[slice], np.ndarray]:
    """What gives some planes of a box of the volume, (planes, h, w) float32: the largest of all views."""
    read = [(values(), view) for values, view in views]
    height, width = (side.stop - side.start for side in box[1:])

    def planes(part: slice) -> np.ndarray:
        out = np.zeros((part.stop - part.start, height, width), np.float32)
        for values, view in read:
            take_larger(out, values, view, (box[0].start + part.start, box[1].start, box[2].start))
        return out

    return planes
