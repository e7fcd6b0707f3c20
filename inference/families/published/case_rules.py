"""A published system's rules applied to one case: its stages, views, regions and prompts.

The engine runs what this gives as it runs everything else: batches of queries with stage rules, whose views
are laid by the rules' grids (`GridLayout`) instead of being fitted to a number of voxels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from vesal.inference.families.published.region import region_bounds, region_factor
from vesal.inference.families.published.resampling import resample_labels
from vesal.inference.families.published.rules import Rules
from vesal.inference.families.published.spacing import Grid, fixed_grid, stage_grid
from vesal.inference.geometry.tilings import HalfStepTiling, padding
from vesal.inference.geometry.views import Box, Sampling, Sides, Triple, View, VolumeGrid, triple, whole

MULTIPLE = 32
"""Sides of a smaller window than the rules': Medal S and SAT halve a side five times."""
MIN_VOXELS = 16**3
"""Voxels of a view below which the ladder makes none coarser."""


@dataclass(frozen=True, eq=False)
class CaseRules:
    """The rules of one case."""

    rules: Rules
    shape: Sides
    """of the volume, (D,H,W)"""
    spacing_mm: Triple
    """as the rules take it, (D,H,W); see `spacing.plausible_spacing`"""
    classes: tuple[str, ...]
    """`CT_Liver` of all prompts that are run"""
    instance: bool
    modality: str = ""
    """that all prompts are run in"""

    def grid(self, shape: Sides, stage: str, share: float) -> Grid:
        """The rules' grid over a region, on about `share` of its voxels."""
        if self.rules.spacing.fixed is not None:
            grid = fixed_grid(shape, self.spacing_mm, self.modality, stage, self.rules)
        else:
            grid = stage_grid(shape, self.spacing_mm, self.classes, stage, self.rules)
        if share >= 1:
            return grid
        d, h, w = (max(1, round(n * share ** (1 / 3))) for n in grid.shape)
        return replace(grid, shape=(d, h, w))

    def window(self, shape: Sides, stage: str, share: float) -> Sides:
        """The rules' window; for a coarser grid of `shape` no more of it than the grid needs.

        A whole window may cost more than all the time there is.
        """
        crop = self.rules.grid(stage).crop
        if share >= 1:
            return crop
        d, h, w = (min(c, -(-n // MULTIPLE) * MULTIPLE) for n, c in zip(shape, crop, strict=True))
        return d, h, w

    def view(self, box: Box, stage: str, share: float = 1.0) -> View:
        """The view of a stage over a box of whole voxels, with zeros appended up to one window."""
        start = triple(float(math.floor(a)) for a in box.start)
        source = tuple(max(1, math.ceil(b) - int(a)) for a, b in zip(start, box.stop, strict=True))
        d, h, w = source
        grid = self.grid((d, h, w), stage, share)
        crop = self.window(grid.shape, stage, share)
        padded = tuple(n + p for n, p in zip(grid.shape, padding(grid.shape, crop), strict=True))
        step = triple(n / m for n, m in zip(source, grid.shape, strict=True))
        corners = self.rules.spacing.corners
        if corners:
            step = triple((n - 1) / (m - 1) if m > 1 else n for n, m in zip(source, grid.shape, strict=True))
            # The first voxels' centres are in one place, not their edges; a single voxel stands for all.
            shifts = ((1 - s) / 2 if m > 1 else 0.0 for s, m in zip(step, grid.shape, strict=True))
            start = triple(a + shift for a, shift in zip(start, shifts, strict=True))
        sampling = Sampling(grid.shape, (d, h, w), grid.separate_axis, corners)
        return View(start, step, (padded[0], padded[1], padded[2]), 0, 0, HalfStepTiling(crop), sampling)

    def solid(self, labels: np.ndarray) -> np.ndarray | None:
        """(D,H,W) labels -> (D,H,W) bool: a coarse map's foreground without specks; None where they count."""
        least = self.rules.stages.least_component
        if self.instance or least <= 1:
            return None
        from vesal.postprocess.specks import (
            remove_specks,  # its library's import is start-up time of every run
        )

        return remove_specks(labels, least)

    def region(self, labels: np.ndarray) -> tuple[Box, bool, str]:
        """Where the fine stage looks, whether the coarse one pointed there, and why.

        Args:
            labels: (D,H,W) the coarse label map, see ``solid``.
        """
        foreground = labels != 0
        if not foreground.any():
            return whole(self.shape), False, "the whole volume, as the coarse result is empty"
        bounds = region_bounds(foreground, self.spacing_mm, self.classes, self.rules)
        box = Box(triple(float(a) for a, _ in bounds), triple(float(b) for _, b in bounds))
        factor = region_factor(self.classes, self.rules)
        return box, True, f"the coarse result's box, {factor:g} times or a window large"

    def prompt_labels(self, labels: np.ndarray, view: View) -> np.ndarray:
        """(D,H,W) coarse labels -> (d,h,w) on a view of these rules, 0 in what was appended."""
        sampling = view.sampling
        assert sampling is not None
        at = tuple(slice(view.first(a), view.first(a) + sampling.source[a]) for a in range(3))
        out = np.zeros(view.shape, labels.dtype)
        inner = tuple(slice(0, n) for n in sampling.grid)
        out[inner] = resample_labels(labels[at], sampling.grid, sampling.nearest_axis)
        return out


@dataclass(frozen=True, eq=False)
class GridLayout:
    """How one stage of one case lays its views and takes its region: a `geometry.layouts.Layout` and a
    `planning.rules.LabelRegion`."""

    case: CaseRules
    stage: str
    voxels: int
    """Voxels of the whole volume's windows in this stage: what a rule allows at full effort."""

    @property
    def min_voxels(self) -> int:
        """The smallest window that the networks take."""
        return MIN_VOXELS

    @property
    def crop_air(self) -> bool:
        """The rules look at the whole volume."""
        return False

    def view(self, box: Box, volume: VolumeGrid, voxels: int, finest_mm: float) -> View:
        """The view over `box`; coarser where fewer voxels than the stage's `voxels` are allowed."""
        return self.case.view(box, self.stage, min(1.0, voxels / self.voxels))

    def solid(self, labels: np.ndarray) -> np.ndarray | None:
        """(D,H,W) labels -> (D,H,W) bool, see `CaseRules.solid`."""
        return self.case.solid(labels)

    def region(self, labels: np.ndarray) -> tuple[Box, bool, str]:
        """(D,H,W) labels -> where the fine stage looks, see `CaseRules.region`."""
        return self.case.region(labels)

    def prompt_labels(self, labels: np.ndarray, view: View) -> np.ndarray:
        """(D,H,W) labels -> (d,h,w) on `view`, see `CaseRules.prompt_labels`."""
        return self.case.prompt_labels(labels, view)
