"""Zoom-out and zoom-in: what the network is asked in each window, and each window encoded once a case."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vesal.inference.families.contract import Decoded, UserInput, Window
from vesal.inference.families.mask_product import sigmoid
from vesal.inference.families.segvol.draws import DrawPoints, draw_points
from vesal.inference.families.segvol.layouts import ZoomTiling, place_of
from vesal.inference.families.segvol.network import PromptNetwork
from vesal.inference.families.segvol.preprocess import Seen
from vesal.inference.families.segvol.prompts import Asked, MapWindow, Marked, box_of
from vesal.inference.families.segvol.regions import FOREGROUND
from vesal.inference.geometry.views import Sides, View

OUTSIDE = -1e4
"""Logit of voxels that fill a window up."""


@dataclass(frozen=True, eq=False)
class SeenCase:
    """What is known of one case's volume, and the windows of it that were encoded."""

    seen: Seen
    digest: bytes
    """of the volume"""
    encoded: OrderedDict[tuple[Any, ...], Any] = field(default_factory=OrderedDict)
    """the last ones, by where they lie"""


@dataclass(frozen=True, eq=False)
class Texts:
    """N prompts as the network takes them."""

    vectors: tuple[np.ndarray | None, ...]
    """(C,) float32 each; None of one without a sentence"""
    names: tuple[str, ...]
    """what tells them from each other"""

    def part(self, rows: Sequence[int]) -> Texts:
        """Some of them."""
        return Texts(tuple(self.vectors[row] for row in rows), tuple(self.names[row] for row in rows))


@dataclass(frozen=True, eq=False)
class EncodedWindow:
    """A window, for any prompts."""

    found: Any
    """of the network"""
    case: SeenCase
    view: View
    corner: Sides
    """first voxel of the window in its view"""
    shape: Sides

    @property
    def zoom(self) -> ZoomTiling | None:
        """Of a window of zoom-in, the region that it is over."""
        return self.view.tiling if isinstance(self.view.tiling, ZoomTiling) else None

    @property
    def first(self) -> Sides:
        """Native voxel in which a window of zoom-in begins."""
        d, h, w = (round(a) + c for a, c in zip(self.view.start, self.corner, strict=True))
        return d, h, w

    @property
    def alone(self) -> bool:
        """Whether it is the only window of its view."""
        return self.view.shape == self.shape

    @property
    def map_window(self) -> MapWindow:
        """What it reads of the map of what the user marked: its corner counts from the region's first voxel,
        as if nothing had been filled up.
        """
        zoom, seen = self.zoom, self.case.seen
        assert zoom is not None
        at = zip(zoom.start, seen.start, strict=True)
        region = [a - b for a, b in at]
        first = tuple(a + c for a, c in zip(region, self.corner, strict=True))
        sides = zip(region, zoom.shape, first, self.shape, strict=True)
        return MapWindow(seen.shape, self.shape, first, tuple(min(a + n, f + m) for a, n, f, m in sides))


class ZoomStage:
    """One network for both stages; a ``contract.StageModel``."""

    def __init__(
        self,
        network: PromptNetwork,
        kept: int,
        extra: int = 4,
        draw: DrawPoints = draw_points,
        recorded: Mapping[str, Marked] | None = None,
    ) -> None:
        """Nothing is encoded yet.

        Args:
            network: encodes and decodes.
            kept: encoded windows that are kept of a case.
            extra: points of a window beside the first.
            draw: chooses points; recorded choices may stand in for it.
            recorded: by the names in ``Texts`` what stands in for what the user marked.
        """
        self._network, self._kept, self._extra, self._draw = network, kept, extra, draw
        self._recorded = recorded or {}

    def prepare(self, sampled: np.ndarray, view: View, measured: SeenCase) -> np.ndarray:
        """(d, h, w) float32 as stored -> (1, d, h, w) float32 0..1."""
        return measured.seen.grey(sampled)[None]

    def is_empty(self, window: np.ndarray) -> bool:
        """Every window (1, d, h, w) is run, as released."""
        return False

    def cost(self, degree: int, voxels: int, prompts: int) -> tuple[str, int]:
        """One size of window, the same graphs."""
        return "window", voxels

    def encode(self, window: Window) -> EncodedWindow:
        """Encode a window (1, d, h, w), or take it as it was encoded for another prompt."""
        assert window.view is not None
        case: SeenCase = window.measured
        _, d, h, w = window.image.shape
        place = place_of(window.view, window.corner, (d, h, w))
        encoded = self._encoded(case, place, lambda: self._network.encode(window.image))
        return EncodedWindow(encoded, case, window.view, window.corner, (d, h, w))

    def _encoded(self, case: SeenCase, place: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        kept = case.encoded
        if place not in kept:
            kept[place] = make()
            while len(kept) > self._kept:
                kept.popitem(last=False)
        kept.move_to_end(place)
        return kept[place]

    def decode(
        self,
        encoded: EncodedWindow,
        prompts: Texts,
        spatial: np.ndarray | None,
        user: UserInput | None,
    ) -> Decoded:
        """Ask for N prompts in one window.

        Args:
            encoded: a window.
            prompts: N of them.
            spatial: (N, d, h, w) float32, what zoom-out found there; None in zoom-out.
            user: boxes and points.

        Returns:
            probabilities of zoom-out, logits of zoom-in.
        """
        asked = []
        for row, vector in enumerate(prompts.vectors):
            marked = self._recorded.get(prompts.names[row]) or _marked(encoded, row, user)
            if encoded.zoom is None:
                asked.append(marked.on_whole().says(vector))
            else:
                mask = None if spatial is None else spatial[row] > FOREGROUND
                asked.append(self._zoomed(encoded, marked, mask, prompts.names[row]).says(vector))
        logits = self._network.logits(encoded.found, asked)
        if encoded.zoom is None:
            return Decoded(sigmoid(logits, out=logits))
        _clear_outside(logits, encoded, encoded.zoom)
        return Decoded(logits)

    def _zoomed(self, at: EncodedWindow, marked: Marked, mask: np.ndarray | None, name: str) -> Asked:
        """What is asked in a window of zoom-in.

        A box: the user's own if the window is the only one, else that of what zoom-out found. With points the
        code as released always takes the latter; with both, which it refuses, the box goes by its own rule.
        """
        if marked.box is None and not marked.points:
            return Asked()
        cut = at.map_window
        own = marked.box_in(cut)
        alone = own is not None and (at.alone or mask is None)
        box = own if alone else None if mask is None else box_of(mask)
        if not marked.points:
            return Asked(box=box)
        points, labels = self._draw(at.case.digest, name, at.first, marked.points_in(cut), self._extra)
        return Asked(box=box, points=points, labels=labels)


def _clear_outside(logits: np.ndarray, window: EncodedWindow, zoom: ZoomTiling) -> None:
    """Make background of voxels (N, d, h, w) that fill a window up, in place."""
    for axis, (first, length) in enumerate(zip(window.first, window.shape, strict=True)):
        start = zoom.start[axis] - first
        stop = start + zoom.shape[axis]
        planes = np.moveaxis(logits, 1 + axis, 0)
        planes[: max(0, start)] = OUTSIDE
        planes[min(max(0, stop), length) :] = OUTSIDE


def _marked(window: EncodedWindow, row: int, user: UserInput | None) -> Marked:
    """What the user marked of a prompt, in zoom-out's grid, from voxels of a window."""
    if user is None:
        return Marked()
    view, corner = window.view, np.array(window.corner)
    start, step = np.array(view.start), np.array(view.step)
    boxes = start + (user.boxes[row] + corner) * step
    points = user.points[row].copy()
    points[:, :3] = start + (points[:, :3] + corner + 0.5) * step - 0.5
    seen = window.case.seen
    return Marked.of(boxes, points, seen.start, seen.shape, window.shape)
