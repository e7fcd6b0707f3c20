"""The one stage of VoxTell: each window encoded once, each prompt decoded on it by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vesal.inference.families.contract import Decoded, UserInput, Window
from vesal.inference.families.voxtell.layouts import EvenWindows
from vesal.inference.families.voxtell.network import Encoded, PromptNetwork
from vesal.inference.families.voxtell.preprocess import Numbers
from vesal.inference.families.voxtell.presence import slice_presence
from vesal.inference.geometry.views import View

OUTSIDE = -1e4
"""Logit of voxels that fill a window up."""


@dataclass(frozen=True, eq=False)
class Queries:
    """N prompts as the prompt decoder takes them."""

    values: np.ndarray
    """(N, E) float32"""

    def part(self, rows: Sequence[int]) -> Queries:
        """Some of them."""
        return Queries(self.values[list(rows)])


@dataclass(frozen=True, eq=False)
class EncodedWindow:
    """A window, for any prompts."""

    found: Encoded
    inside: tuple[slice, slice, slice]
    """its voxels that are no padding"""
    coarse: bool
    """whether it is coarser than the volume"""


class WindowStage:
    """The network on windows of a volume; a ``contract.StageModel``."""

    def __init__(self, network: PromptNetwork, presence_logit: float | None = None) -> None:
        """``presence_logit``: from which a slice shows a target; None: that is not told."""
        self._network, self._presence_logit = network, presence_logit

    def prepare(self, sampled: np.ndarray, view: View, measured: Numbers) -> np.ndarray:
        """(d, h, w) float32 as sampled -> (1, d, h, w) normalised, in place; padding is 0, the mean."""
        measured.normalise(sampled)
        _fill_outside(sampled[None], _inside(view, (0, 0, 0), view.shape), 0.0)
        return sampled[None]

    def is_empty(self, window: np.ndarray) -> bool:
        """Whether all voxels of a window (1, d, h, w) are equal: nothing can be seen in it."""
        return bool(window.min() == window.max())

    def cost(self, degree: int, voxels: int, prompts: int) -> tuple[str, int]:
        """One size of window, the same graphs."""
        return "window", voxels

    def encode(self, window: Window) -> EncodedWindow:
        """Encode a window (1, d, h, w)."""
        view = window.view
        assert view is not None
        inside = _inside(view, window.corner, window.shape)
        return EncodedWindow(self._network.encode(window.image), inside, view.step != (1.0, 1.0, 1.0))

    def decode(
        self, encoded: EncodedWindow, prompts: Queries, spatial: np.ndarray | None, user: UserInput | None
    ) -> Decoded:
        """Logits of N prompts (N, d, h, w) float32, one after the other on the memory of one."""
        logits: np.ndarray | None = None
        for row, query in enumerate(prompts.values):
            found = self._network.logits(encoded.found, query)
            if logits is None:
                logits = np.empty((len(prompts.values), *found.shape), np.float32)
            logits[row] = found
        assert logits is not None
        if encoded.coarse:
            _repeat_border(logits, encoded.inside)
        _fill_outside(logits, encoded.inside, OUTSIDE, margin=int(encoded.coarse))
        if self._presence_logit is None:
            return Decoded(logits)
        return Decoded(logits, slice_presence(logits, self._presence_logit))


def _inside(
    view: View, corner: tuple[int, int, int], shape: tuple[int, int, int]
) -> tuple[slice, slice, slice]:
    """The voxels of a window that are no padding."""
    assert isinstance(view.tiling, EvenWindows)
    bounds = zip(view.tiling.inside, corner, shape, strict=True)
    d, h, w = (slice(max(0, a - c), min(n, b - c)) for (a, b), c, n in bounds)
    return d, h, w


def _fill_outside(
    values: np.ndarray, inside: tuple[slice, slice, slice], value: float, margin: int = 0
) -> None:
    """Set all voxels of (N, d, h, w) outside of a part, and of ``margin`` voxels around it, in place."""
    for axis, side in enumerate(inside):
        planes = np.moveaxis(values, 1 + axis, 0)
        planes[: max(0, side.start - margin)] = value
        planes[side.stop + margin :] = value


def _repeat_border(values: np.ndarray, inside: tuple[slice, slice, slice]) -> None:
    """Give the padding of (N, d, h, w) next to a part its values, in place: between the last voxel of a
    coarser grid and the volume's edge nothing is lost.
    """
    for axis, side in enumerate(inside):
        planes = np.moveaxis(values, 1 + axis, 0)
        if side.start:
            planes[side.start - 1] = planes[side.start]
        if side.stop < len(planes):
            planes[side.stop] = planes[side.stop - 1]
