"""What is kept of a case for its page: slices and contours as small pictures, and areas per slice.

A slice is stored once and shared by the targets that are shown on it; contours are pictures of their own
above it. Sizes are lowered until a case's pictures take no more than its share of the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.colours import RGB, colour_of
from vesal.inference.output.page.contours import contour_png, edges_of
from vesal.inference.output.page.planes import Plane, planes_of
from vesal.inference.output.page.png import data_uri, gray_indices, gray_palette, palette_png
from vesal.inference.output.page.scaling import picked, picture_size, resized, resized_mask
from vesal.inference.output.page.slices import Areas, areas_of, mask_of, shared_slices

SIDES = (320, 272, 232, 200, 168, 144, 120, 100, 84, 68)
"""Pixels of a picture's longer side, the largest that fits is taken."""
CONTOUR_SIDE = 320
"""At most; contours have twice the pixels of the slices below them, as they are cheap and show the result."""
MAX_TARGETS = 40
"""Largest targets of a case that are shown; of the others the tables tell."""
PROMPT_BYTES, TARGET_BYTES = 500, 3600
"""Characters of a prompt's row in the table, and of a target's figures without the pictures."""
MIN_BYTES = 12_000
"""Of a case's pictures, however much text it has."""
THUMBNAIL_SIDE = 72
THUMBNAIL_GRAYS = 24


@dataclass(frozen=True)
class SlicePicture:
    """One slice of the volume."""

    plane: Plane
    index: int
    slices: int
    size: tuple[int, int]
    """Rows and columns in pixels of the contours above it."""
    size_mm: tuple[float, float]
    uri: str

    @property
    def key(self) -> str:
        """Its name within the case."""
        return f"{self.plane.axis}-{self.index}"


@dataclass(frozen=True)
class CasePictures:
    """The pictures of a case; a target's are under its prompt's id, three slices with its contour on each."""

    slices: Mapping[str, SlicePicture]
    shown: Mapping[int, Sequence[tuple[str, str]]]
    """Keys of slices, and contours as data URIs; an empty one for a slice without contour. Under `NO_TARGET`
    or `ALL_TARGETS` where there is no montage for each."""
    areas: Mapping[int, np.ndarray]
    """Voxels in each slice along D of each target that was found."""
    thumbnail: str
    spacing_dhw_mm: tuple[float, float, float]
    axis_codes: tuple[str, str, str] | None
    presence: Mapping[int, np.ndarray] = field(default_factory=dict)
    """(D,) 0..1 or NaN by prompt id: what the network tells of each slice, where it does."""
    left_out: int = 0
    """Targets found that are not shown, as there are too many."""


def pictures_of(case: Case, labels: np.ndarray, ids: Sequence[int], max_bytes: int) -> CasePictures:
    """Pictures of a case and its label map, both (D, H, W), within a share of the page.

    The smallest size is taken where none fits.

    Args:
        case: with its image, 0..255.
        labels: whole numbers; ids of prompts, or of objects where ``case.instance``.
        ids: of the prompts.
        max_bytes: characters of the case on the page; what its texts need is left out.
    """
    max_bytes -= PROMPT_BYTES * len(ids)
    ids, objects = (ids[:1], True) if case.instance else (ids, False)
    areas = areas_of(labels, ids, objects)
    largest = sorted(areas, key=lambda id_: (-int(areas[id_][0].sum()), id_))[:MAX_TARGETS]
    planes = planes_of(case.axis_codes)
    chosen = _chosen(planes, {id_: areas[id_] for id_ in sorted(largest)}, case.image.shape)
    drawing = _Drawing(case, labels, objects)
    sides = list(SIDES)
    together = len(chosen) > 1 and max_bytes - TARGET_BYTES * len(chosen) < MIN_BYTES
    max_bytes -= 0 if together else TARGET_BYTES * len(chosen)
    while True:
        slices, shown = drawing.montages(planes, chosen, sides[0])
        if together:
            shown = {ALL_TARGETS: drawing.all_contours(slices)}
        over = _length(slices, shown) / max(MIN_BYTES, max_bytes)
        if over <= 1 or len(sides) == 1:
            break
        # Bytes grow about as the number of pixels: sizes that will not fit are not tried.
        sides = [side for side in sides[1:] if side <= sides[0] / over**0.5] or sides[-1:]
    return CasePictures(
        slices=slices,
        shown=shown,
        areas={id_: areas[id_][0] for id_ in areas},
        thumbnail=drawing.thumbnail(planes[0], _middle(chosen, largest)),
        spacing_dhw_mm=case.spacing_dhw_mm,
        axis_codes=case.axis_codes,
        left_out=len(areas) - len(largest),
    )


NO_TARGET = 0
"""Stands for a prompt's id where no target was found, and the middle of the volume is shown."""


ALL_TARGETS = -1
"""Stands for a prompt's id where all targets are drawn together, as each by itself would take too much."""


def _chosen(
    planes: Sequence[Plane], areas: Mapping[int, Areas], shape: tuple[int, ...]
) -> dict[int, tuple[int, ...]]:
    """Index of each target's slice in each plane; without a target the middle ones."""
    if not areas:
        return {NO_TARGET: tuple(shape[plane.axis] // 2 for plane in planes)}
    by_plane = [shared_slices({id_: along[plane.axis] for id_, along in areas.items()}) for plane in planes]
    return {id_: tuple(chosen[id_] for chosen in by_plane) for id_ in areas}


def _middle(chosen: Mapping[int, tuple[int, ...]], largest: Sequence[int]) -> int:
    """Slice of the thumbnail, in the first plane: that of the largest target."""
    return chosen[largest[0] if largest else NO_TARGET][0]


def _length(slices: Mapping[str, SlicePicture], shown: Mapping[int, Sequence[tuple[str, str]]]) -> int:
    return sum(len(part.uri) for part in slices.values()) + sum(
        len(contour) for views in shown.values() for _, contour in views
    )


@dataclass(frozen=True)
class _Drawing:
    """Draws slices of one case."""

    case: Case
    labels: np.ndarray
    objects: bool

    def montages(
        self, planes: Sequence[Plane], chosen: Mapping[int, tuple[int, ...]], side: int
    ) -> tuple[dict[str, SlicePicture], dict[int, list[tuple[str, str]]]]:
        """Every slice once, and each target's contours on its slices."""
        slices: dict[str, SlicePicture] = {}
        shown: dict[int, list[tuple[str, str]]] = {}
        for id_, indices in chosen.items():
            for plane, index in zip(planes, indices, strict=True):
                key = f"{plane.axis}-{index}"
                if key not in slices:
                    slices[key] = self._slice(plane, index, side)
                contour = self._contour(slices[key], id_) if id_ != NO_TARGET else ""
                shown.setdefault(id_, []).append((key, contour))
        return slices, shown

    def all_contours(self, slices: Mapping[str, SlicePicture]) -> list[tuple[str, str]]:
        """Every slice with the contours of all targets on it, one plane after the other."""
        ordered = sorted(slices.items(), key=lambda item: (item[1].plane.axis, item[1].index))
        return [(key, self._contours(part)) for key, part in ordered]

    def thumbnail(self, plane: Plane, index: int) -> str:
        """A slice with the contours of all targets, small."""
        size_mm = plane.size_mm(self.case.image.shape, self.case.spacing_dhw_mm)
        size = picture_size(size_mm, THUMBNAIL_SIDE)
        pixels = gray_indices(resized(plane.cut(self.case.image, index), size), THUMBNAIL_GRAYS)
        labels = picked(plane.cut(self.labels, index), size)
        palette: list[RGB] = gray_palette(THUMBNAIL_GRAYS)
        edge = edges_of(labels)
        for id_ in np.unique(labels[edge]):
            palette.append(colour_of(1 if self.objects else int(id_)))
            pixels[edge & (labels == id_)] = min(len(palette), 256) - 1
        return data_uri(palette_png(pixels, palette[:256]))

    def _slice(self, plane: Plane, index: int, side: int) -> SlicePicture:
        shape = self.case.image.shape
        size_mm = plane.size_mm(shape, self.case.spacing_dhw_mm)
        pixels = gray_indices(resized(plane.cut(self.case.image, index), picture_size(size_mm, side)))
        uri = data_uri(palette_png(pixels, gray_palette()))
        size = picture_size(size_mm, min(CONTOUR_SIDE, 2 * side))
        return SlicePicture(plane, index, shape[plane.axis], size, size_mm, uri)

    def _contours(self, shown: SlicePicture) -> str:
        labels = picked(shown.plane.cut(self.labels, shown.index), shown.size)
        edge = edges_of(labels)
        palette: list[RGB] = [(0, 0, 0)]
        pixels = np.zeros(shown.size, np.uint8)
        for id_ in np.unique(labels[edge])[:255]:
            pixels[edge & (labels == id_)] = len(palette)
            palette.append(colour_of(int(id_)))
        return data_uri(palette_png(pixels, palette, (0,)))

    def _contour(self, shown: SlicePicture, id_: int) -> str:
        labels = shown.plane.cut(self.labels, shown.index)
        if self.objects:
            edge = edges_of(picked(labels, shown.size))
        else:
            edge = edges_of(resized_mask(mask_of(labels, id_, False), shown.size))
        return data_uri(contour_png(edge, colour_of(id_)))
