"""A result in a notebook: NiiVue where `ipyniivue` is installed, else a picture of its planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.colours import colour_of
from vesal.inference.data.orientation import CANONICAL, towards
from vesal.inference.io.nifti_bytes import nifti_bytes
from vesal.inference.output.page.png import gray_indices, gray_palette, palette_png

ROW_PIXELS = 200
"""Height of a row of the picture."""
MAX_ROWS = 8
MAX_LABELS = 200
"""Colours of a palette beside its greys; further labels have those of the first."""
GAP = 4
SHOWN = ("S", "A", "R")
OPACITY = 0.5


@dataclass(frozen=True)
class Picture:
    """A PNG that a notebook shows."""

    png: bytes

    def _repr_png_(self) -> bytes:
        return self.png


def show(case: Case, labels: np.ndarray, names: dict[int, str]) -> Any:
    """A widget or a picture of labels (D, H, W) over their case; ``names`` by the labels' values."""
    try:
        import ipyniivue
    except ImportError:
        return montage(case, labels)
    return _widget(ipyniivue, case, labels, names)


def montage(case: Case, labels: np.ndarray) -> Picture:
    """Three planes through the largest labels, with outlines; right is on the left where sides are known.

    Args:
        case: with the image.
        labels: (D, H, W) whole numbers.
    """
    counts = np.bincount(labels.reshape(-1))
    counts[0] = 0
    largest = [int(i) for i in np.argsort(-counts, kind="stable")[:MAX_ROWS] if counts[i]]
    places = [_place(labels == id_) for id_ in largest] or [tuple(n // 2 for n in labels.shape)]
    rows = [_row(case, labels, place) for place in places]
    width = max(row.shape[1] for row in rows)
    padded = [np.pad(row, ((0, GAP), (0, width - row.shape[1]))) for row in rows]
    palette = [*gray_palette(), *(colour_of(i) for i in range(1, MAX_LABELS + 1))]
    return Picture(palette_png(np.concatenate(padded), palette))


def _place(mask: np.ndarray) -> tuple[int, ...]:
    """Along each axis the slice (D, H, W) with the largest area."""
    return tuple(
        int(mask.sum(axis=tuple(other for other in range(3) if other != axis)).argmax()) for axis in range(3)
    )


def _row(case: Case, labels: np.ndarray, place: Sequence[int]) -> np.ndarray:
    """Axial, coronal, sagittal as indices of the palette (rows, columns); feet are below."""
    pictures = []
    for axis in range(3):
        grey, over = (np.take(volume, place[axis], axis) for volume in (case.image, labels))
        if axis > 0:
            grey, over = grey[::-1], over[::-1]
        mm = [case.spacing_dhw_mm[other] for other in range(3) if other != axis]
        pictures += [_picture(grey, over, mm), np.zeros((ROW_PIXELS, GAP), np.uint8)]
    return np.concatenate(pictures, 1)


def _picture(grey: np.ndarray, labels: np.ndarray, mm: Sequence[float]) -> np.ndarray:
    """A slice (rows, columns) at ``ROW_PIXELS``, its labels outlined."""
    height = grey.shape[0] * mm[0]
    columns = max(1, round(grey.shape[1] * mm[1] / height * ROW_PIXELS))
    at = np.ix_(_nearest(grey.shape[0], ROW_PIXELS), _nearest(grey.shape[1], columns))
    out, over = gray_indices(grey[at]), labels[at]
    inner = np.ones(over.shape, bool)
    for axis in range(2):
        for step in (1, -1):
            inner &= np.roll(over, step, axis) == over
    first = len(gray_palette())
    edge = (over > 0) & ~inner
    out[edge] = first + (over[edge].astype(np.int64) - 1) % MAX_LABELS
    return out


def _nearest(count: int, wanted: int) -> np.ndarray:
    """For each of ``wanted`` pixels the index of its voxel."""
    return ((np.arange(wanted) + 0.5) * count / wanted).astype(np.int64)


def _widget(ipyniivue: Any, case: Case, labels: np.ndarray, names: dict[int, str]) -> Any:
    """NiiVue with image and labels."""
    way = towards(case.axis_codes or CANONICAL, SHOWN)
    spacing = way.axes(case.spacing_dhw_mm)
    ids = sorted({int(i) for i in np.unique(labels)} - {0})
    colours = [(0, 0, 0), *(colour_of(i) for i in ids)]
    widget = ipyniivue.NiiVue(
        is_radiological_convention=True, is_orientation_text_visible=case.axis_codes is not None
    )
    widget.load_volumes(
        [
            {"data": nifti_bytes(way.turn(case.image), spacing), "name": "image.nii", "colormap": "gray"},
            {
                "data": nifti_bytes(way.turn(labels.astype(np.uint16)), spacing),
                "name": "labels.nii",
                "opacity": OPACITY,
            },
        ]
    )
    red, green, blue = ([int(colour[channel]) for colour in colours] for channel in range(3))
    widget.volumes[1].set_colormap_label(
        {
            "R": red,
            "G": green,
            "B": blue,
            "A": [0, *(255 for _ in ids)],
            "I": [0, *ids],
            "labels": ["", *(names.get(i, f"label {i}") for i in ids)],
        }
    )
    return widget
