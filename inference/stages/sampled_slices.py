"""A view's image that is sampled slice by slice, as windows need it (``geometry.views.SliceSampler``)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from vesal.inference.geometry.views import View

Index = tuple[slice, slice, slice, slice]


class SampledSlices:
    """Reads like an array (C, D, H, W) float32, one part after the other; the last slices stay sampled, as
    neighbouring windows see them again.
    """

    def __init__(self, volume: np.ndarray, view: View, prepare: Callable[[np.ndarray], np.ndarray]) -> None:
        """``volume`` (D, H, W); ``prepare`` makes (C, d, h, w) of sampled slices (d, h, w) float32."""
        assert view.sampler is not None
        self._volume, self._view, self._prepare = volume, view, prepare
        self._axis = view.thick_axis
        self._kept: dict[int, np.ndarray] = {}

    def __getitem__(self, at: Index) -> np.ndarray:
        """A part (C, d, h, w)."""
        numbers = np.arange(*at[1 + self._axis].indices(self._view.shape[self._axis]))
        rest = tuple(slice(None) if axis == 1 + self._axis else part for axis, part in enumerate(at))
        return self.take(numbers, 1 + self._axis)[rest]

    def take(self, places: np.ndarray, axis: int) -> np.ndarray:
        """Whole slices (C, d, h, w), numbered along the axis of the slices; any may come twice."""
        if axis != 1 + self._axis:
            raise ValueError(f"slices along axis {axis} are wanted, but they lie along {1 + self._axis}")
        wanted = [int(place) for place in places]
        self._kept = {n: plane for n, plane in self._kept.items() if n in wanted}
        missing = [n for n in dict.fromkeys(wanted) if n not in self._kept]
        if missing:
            assert self._view.sampler is not None
            planes = self._view.sampler.slices(self._volume, self._view, np.array(missing))
            self._kept.update(zip(missing, planes, strict=True))
        stack = np.stack([self._kept[n] for n in wanted]).astype(np.float32)
        return self._prepare(np.moveaxis(stack, 0, self._axis))
