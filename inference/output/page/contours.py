"""Contours of label slices, as pictures that are transparent elsewhere."""

from __future__ import annotations

import numpy as np

from vesal.inference.data.colours import RGB
from vesal.inference.output.page.png import palette_png

HALOS = (0, 0, 0), (255, 255, 255)
"""Of light and of dark colours."""
HALO_ALPHA = 170
"""Opacity of the line around a contour, which keeps it apart from tissue of its brightness."""
DARK = 0.35
"""Brightness below which a colour has a light line around it."""
MIN_WIDE = 120
"""Pixels of a picture from which on its contours are three pixels wide, one otherwise."""


def edges_of(labels: np.ndarray, wanted: np.ndarray | None = None) -> np.ndarray:
    """Pixels of the labels' inner borders, (rows, columns) bool.

    A pixel is at a border where one of its four neighbours has another label, or the picture ends there.

    Args:
        labels: (rows, columns) bool or whole numbers, 0 is background.
        wanted: where contours are drawn; None: around every label above 0.
    """
    padded = np.pad(labels, 1)
    edge = np.zeros(labels.shape, bool)
    for neighbour in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        edge |= neighbour != labels
    return edge & (labels > 0 if wanted is None else wanted)


def widened(mask: np.ndarray) -> np.ndarray:
    """A (rows, columns) mask with the four neighbours of each pixel."""
    padded = np.pad(mask, 1)
    return mask | padded[:-2, 1:-1] | padded[2:, 1:-1] | padded[1:-1, :-2] | padded[1:-1, 2:]


def contour_png(edge: np.ndarray, colour: RGB) -> bytes:
    """A (rows, columns) contour in its colour with a line around it that contrasts, transparent elsewhere."""
    line = edge if min(edge.shape) < MIN_WIDE else widened(edge)
    halo = HALOS[brightness(colour) < DARK]
    indices = np.where(line, np.uint8(2), widened(line).astype(np.uint8))
    return palette_png(indices, (halo, halo, colour), (0, HALO_ALPHA))


def brightness(colour: RGB) -> float:
    """Of a colour as it is seen, 0..1 (luma of ITU-R BT.601)."""
    return (0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]) / 255
