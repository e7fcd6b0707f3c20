"""Graphs whose slices see each other, run on the sequences of dual-rate sampling (Bio2Vol, docs/bio2vol.md).

A slice's result hangs on the parts of the view that show it, and on nothing else, whatever slices are
predicted in one run. Every slice is packed with its own neighbours in the volume, in the sparse sequence too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from vesal.inference.families.biomedparse.fields import BiomedParseFields
from vesal.inference.families.biomedparse.fractal import slices_per_side
from vesal.inference.families.biomedparse.network import OUTPUTS, EncodedSlices, SliceNetwork, Words
from vesal.inference.families.contract import RunGraph, Window
from vesal.inference.geometry.dual_rate import DualRate, merged


@dataclass(frozen=True, eq=False)
class SurroundedSlices:
    """Slices to predict among those around them, packed. Each sequence is encoded when it is decoded."""

    packed: np.ndarray
    """(n, 3, h, w) float32"""
    start: int
    """of the first in the view"""
    wanted: range
    """slices of the view to predict"""
    length: int
    """slices of the view"""
    first: int
    """number in the volume of the view's first"""
    plane: tuple[int, int]
    """(h, w) of a slice"""
    case: bytes
    """see ``EncodedSlices.case``"""
    edges: bool
    """whether edges are asked for"""


class SequenceNetwork(SliceNetwork):
    """Image and decoder graphs with cross-slice attention; a ``contract.StageModel``."""

    def __init__(
        self, image: RunGraph, decoder: RunGraph, fields: BiomedParseFields, setting: DualRate
    ) -> None:
        """``setting`` says which slices are run together."""
        super().__init__(image, decoder, fields)
        self._setting = setting

    def encode(self, window: Window) -> Any:
        """Pack slices (1, d + context, h, w). Without slices around them they are a run by themselves."""
        reach = window.context - slices_per_side(self._fields.order)
        if not reach:
            return super().encode(window)
        packed = self._packed(window.image[0])
        before, behind = min(reach, window.before), min(reach, window.behind)
        count, h, w = window.shape
        return SurroundedSlices(
            packed[reach - before : reach + count + behind],
            window.before - before,
            range(window.before, window.before + count),
            window.before + count + window.behind,
            window.first - window.before,
            (h, w),
            window.measured,
            window.edges,
        )

    def _logits(self, encoded: EncodedSlices | SurroundedSlices, prompts: Words) -> dict[str, np.ndarray]:
        """See ``SliceNetwork._logits``: merged, of all sequences that show a slice."""
        if isinstance(encoded, EncodedSlices):
            return super()._logits(encoded, prompts)
        sides: list[tuple[int, ...]] = []

        def run(slices: np.ndarray) -> np.ndarray:
            found = super(SequenceNetwork, self)._logits(self._encoded(encoded, slices), prompts)
            sides[:] = [found[name].shape[2:] for name in OUTPUTS]
            return np.concatenate([found[name].reshape(*found[name].shape[:2], -1) for name in OUTPUTS], 2)

        joined = merged(run, encoded.length, self._setting, 1, encoded.wanted)
        ends = np.cumsum([int(np.prod(shape)) for shape in sides])[:-1]
        parts = zip(OUTPUTS, np.split(joined, ends, 2), sides, strict=True)
        return {name: part.reshape(*part.shape[:2], *shape) for name, part, shape in parts}

    def _encoded(self, around: SurroundedSlices, slices: np.ndarray) -> EncodedSlices:
        """One sequence, of slices (T,) of the view."""
        found = self._image({"image": around.packed[slices - around.start]})
        numbers = tuple(int(number) + around.first for number in slices)
        return EncodedSlices(found, numbers, around.plane, around.case, around.edges)
