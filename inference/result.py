"""The result of one volume, for callers from Python."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.results import PromptResult
from vesal.inference.io.file_axes import FileAxes, axes_of_lengths
from vesal.inference.stages.native_views import take_larger
from vesal.inference.stages.segmentation import Segmentation, ViewProbability


@dataclass(frozen=True, eq=False)
class Result:
    """The result of one volume."""

    labels: np.ndarray
    """(D, H, W) unsigned: ids of prompts, 0 elsewhere; with instances a value for each object"""
    prompts: PromptResults
    """one result for each prompt"""
    report: dict[str, Any]
    """plain values for JSON: runtime, notes, stages, steps taken because time ran short"""
    _segmentation: Segmentation
    _case: Case
    _header: object = None
    """of the file's reader, for `Model.segment_file`: where its voxels lie"""
    _source: Path | None = None
    """the file that was read"""

    def save(self, path: str | PathLike[str]) -> None:
        """Write the label map in the format of the name: `.nii.gz`, `.nrrd`, `.npz`, ...

        After ``Model.segment_file`` it has the geometry of the file; else voxels have their lengths, and
        nothing is said of directions. Names and colours are inside where the format has room for them, beside
        it for 3D Slicer (`.ctbl`) and ITK-SNAP (`.label`).

        Raises:
            UsageError: no label map is written in a format of that name, or it is the file that was read.
            OSError: the folder cannot be written.
        """
        from vesal.inference.io.label_names import check_place, save_labels

        check_place(Path(path), self._source)
        header, case = self._header, self._case
        if header is None:
            header = axes_of_lengths(case.name, self._seen.shape, case.spacing_dhw_mm)
        save_labels(Path(path), self._seen, header, self._names())

    def show(self) -> Any:
        """For a notebook: a NiiVue widget where `ipyniivue` is installed, else a picture of the planes."""
        from vesal.inference.output.show import show

        return show(self._case, self._seen, self._names())

    def probability(self, i: int) -> np.ndarray:
        """Probability of one prompt, (D, H, W) float32 0..1 on the volume's grid, before classes compete.

        From the last stage: 0 outside of the region of the fine stage, and everywhere where the
        weights do not cover the target.

        Args:
            i: position of the prompt in a list, its id in a dict.

        Raises:
            LookupError: there is no such prompt.
        """
        return self._on_grid(self._segmentation.probabilities.get(self.prompts[i].id, []))

    def mask(self, i: int) -> np.ndarray:
        """All of one prompt's result, (D, H, W) bool, also what ``labels`` has under another prompt's id.

        In a label map a voxel has one id; where prompts overlap ("kidneys", "left kidney"), only here each
        has its whole. With instances also what was too small to be counted as an object.

        Args:
            i: position of the prompt in a list, its id in a dict.

        Raises:
            LookupError: there is no such prompt.
        """
        return self._turned_back(self._segmentation.mask(self.prompts[i].id))

    def edges(self, i: int) -> np.ndarray:
        """Probability that an object of one prompt ends there, (D, H, W) float32 0..1 on the volume's grid.

        0 everywhere where the family tells no edges (``Model.capabilities``).

        Args:
            i: position of the prompt in a list, its id in a dict.

        Raises:
            LookupError: there is no such prompt.
        """
        return self._on_grid(self._segmentation.edges.get(self.prompts[i].id, []))

    def _on_grid(self, views: Sequence[ViewProbability]) -> np.ndarray:
        orientation = self._segmentation.orientation
        out = np.zeros(orientation.axes(self._segmentation.labels.shape), np.float32)
        for values, view in views:
            take_larger(out, np.asarray(values), view)
        return self._turned_back(out)

    def _turned_back(self, out: np.ndarray) -> np.ndarray:
        """(D, H, W) as the volume came, of what the network saw turned."""
        out = self._segmentation.orientation.back(out)
        return out if self._axes is None else self._axes.stored_labels(out)

    @property
    def _seen(self) -> np.ndarray:
        """The label map (D, H, W) on the axes of the engine."""
        return self.labels if self._axes is None else self._axes.orientation.turn(self.labels)

    @property
    def _axes(self) -> FileAxes | None:
        """The grid of the file, where it says how it lies."""
        return self._header if isinstance(self._header, FileAxes) else None

    def _names(self) -> dict[int, str]:
        """Names of the values of the label map."""
        if self.report.get("instance"):
            name = self.prompts[0].target or "object" if len(self.prompts) == 1 else "object"
            return {int(value): f"{name} {value}" for value in np.unique(self.labels) if value}
        return {each.id: each.target or each.text or f"target {each.id}" for each in self.prompts}


class PromptResults(Sequence[PromptResult]):
    """Results in the order of the prompts; indexed by position for a list of prompts, by id for a dict."""

    def __init__(self, results: Sequence[PromptResult], by_id: bool) -> None:
        """``by_id``: the prompts came as a dict."""
        self._results = list(results)
        self._by_id = {result.id: result for result in results} if by_id else None

    def __len__(self) -> int:
        """How many prompts there were."""
        return len(self._results)

    def __iter__(self) -> Iterator[PromptResult]:
        """Each result in turn."""
        return iter(self._results)

    def __reversed__(self) -> Iterator[PromptResult]:
        """Each result, the last one first."""
        return reversed(self._results)

    def index(self, value: Any, start: int = 0, stop: int | None = None) -> int:
        """Position of a result. Raises ValueError where it is none of these."""
        return self._results.index(value, start, len(self) if stop is None else stop)

    def __getitem__(self, i: Any) -> Any:
        """The result of one prompt. Raises IndexError where there is none."""
        try:
            if self._by_id is not None:
                return self._by_id[int(i) if isinstance(i, str) else operator.index(i)]
            return self._results[i]
        except (IndexError, KeyError, TypeError, ValueError):
            keys = list(range(len(self))) if self._by_id is None else list(self._by_id)
            raise IndexError(f"There is no prompt {i!r}; there are {keys}.") from None

    def __repr__(self) -> str:
        """As a list."""
        return repr(list(self))
