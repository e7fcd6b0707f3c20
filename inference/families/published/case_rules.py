"""A profile's rules (`inference.rules`) applied to one case: its stages, views, regions and prompts.

The engine runs what this gives as it runs everything else: batches of queries with stage rules, whose views
are laid by the rules' grids (`StageLayout`) instead of being fitted to a number of voxels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vesal.inference.data.terms import STAGES
from vesal.inference.families.published.decisions import CasePlan, plan_named, refinements
from vesal.inference.families.published.naming import Named, Names, majority
from vesal.inference.families.published.region import region_bounds, region_factor
from vesal.inference.families.published.resampling import resample_labels
from vesal.inference.families.published.rules import Rules
from vesal.inference.families.published.spacing import Grid, fixed_grid, plausible_spacing, stage_grid
from vesal.inference.geometry.tiles import padding, tiles
from vesal.inference.geometry.views import Box, Sides, Tiling, Triple, View, triple, whole

MULTIPLE = 32
"""Sides of a smaller window than the rules': Medal S and SAT halve a side five times."""
THEIR_MODALITY = {"MR": "MRI"}
"""Where the rules' word for a modality is not ours."""


@dataclass(frozen=True, eq=False)
class PublishedRules:
    """What a profile with rules holds beside the stage rules: compared by identity, as it is read once."""

    rules: Rules
    names: Names


@dataclass(frozen=True, eq=False)
class CaseRules:
    """The rules of one case."""

    rules: Rules
    shape: Sides
    """of the volume, (D,H,W)"""
    spacing_mm: Triple
    """as the rules take it, (D,H,W); see `rules.spacing.plausible_spacing`"""
    classes: tuple[str, ...]
    """`CT_Liver` of all that is asked for"""
    instance: bool
    modality: str = ""
    """that all is asked in"""

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
        tiling = Tiling(crop, grid.shape, (d, h, w), grid.separate_axis, corners)
        return View(start, step, (padded[0], padded[1], padded[2]), 0, 0, tiling)

    def solid(self, labels: np.ndarray) -> np.ndarray | None:
        """(D,H,W) bool: the foreground of a coarse label map without its specks; None where they count."""
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
        """(D,H,W) coarse labels -> labels on a view of these rules, 0 in what was appended."""
        tiling = view.tiling
        assert tiling is not None
        at = tuple(slice(view.first(a), view.first(a) + tiling.source[a]) for a in range(3))
        out = np.zeros(view.shape, labels.dtype)
        inner = tuple(slice(0, n) for n in tiling.grid)
        out[inner] = resample_labels(labels[at], tiling.grid, tiling.nearest_axis)
        return out


@dataclass(frozen=True, eq=False)
class StageLayout:
    """How one stage of one case lays its views; the engine asks it instead of fitting a view."""

    case: CaseRules
    stage: str
    voxels: int
    """Voxels of the whole volume's windows in this stage: what a rule allows at full effort."""

    def view(self, box: Box, allowed: int) -> View:
        """The view over `box`; coarser where fewer voxels than `voxels` are allowed."""
        return self.case.view(box, self.stage, min(1.0, allowed / self.voxels))

    def solid(self, labels: np.ndarray) -> np.ndarray | None:
        """See `CaseRules.solid`."""
        return self.case.solid(labels)

    def region(self, labels: np.ndarray) -> tuple[Box, bool, str]:
        """See `CaseRules.region`."""
        return self.case.region(labels)

    def prompt_labels(self, labels: np.ndarray, view: View) -> np.ndarray:
        """See `CaseRules.prompt_labels`."""
        return self.case.prompt_labels(labels, view)


@dataclass(frozen=True)
class CaseDecisions:
    """What the rules say of one case."""

    plan: CasePlan
    case: CaseRules
    layouts: Mapping[str, StageLayout]
    windows: Mapping[str, int]
    """windows over the whole volume, by stage"""
    rounds: Mapping[str, int]


def decide(
    sentences: Mapping[int, tuple[str, str | None, str]],
    shape: Sides,
    spacing_dhw_mm: Triple,
    instance: bool,
    ruled: PublishedRules,
) -> CaseDecisions:
    """Apply the rules to a case.

    Args:
        sentences: prompt id to (sentence, target, modality) of the prompts that are run.
        shape: of the volume, (D,H,W).
        spacing_dhw_mm: of the volume.
        instance: objects are asked for.
        ruled: of the profile.
    """
    rules = ruled.rules
    plan = plan_named(
        {i: _named(*about, instance, ruled.names) for i, about in sentences.items()}, shape, instance, rules
    )
    d, h, w = spacing_dhw_mm
    seen = (d, w, h) if rules.spacing.x_along_h else (d, h, w)
    spacing = plausible_spacing(shape, seen, rules.spacing) if rules.spacing.fixed is None else seen
    modality = one_modality([modality for _, _, modality in sentences.values()])
    case = CaseRules(rules, shape, spacing, plan.classes, instance, modality)
    layouts, windows, rounds = {}, {}, {}
    for stage in STAGES:
        crop = rules.grid(stage).crop
        windows[stage] = len(tiles(case.view(whole(shape), stage).shape, crop))
        layouts[stage] = StageLayout(case, stage, windows[stage] * math.prod(crop))
        rounds[stage] = 1 + refinements(plan.classes, stage, instance, rules)
    return CaseDecisions(plan, case, layouts, windows, rounds)


def _named(sentence: str, target: str | None, modality: str, instance: bool, names: Names) -> Named:
    """A class by the sentence's own words, else by what our vocabulary made of them."""
    named = names.name(sentence, instance)
    if not names.classes:
        return Named(THEIR_MODALITY.get(modality, modality), None, None, "no class has rules of its own")
    if named.full_name is not None or target is None:
        return named
    theirs = THEIR_MODALITY.get(modality, modality)
    found = names.of_target(target, theirs, instance)
    if found is None:
        return Named(theirs, None, None, f"{named.why}; no rule knows {target}")
    return Named(theirs, found.name, found.id, f"{target} is {theirs}_{found.name}")


def one_modality(modalities: Sequence[str]) -> str:
    """The modality that all prompts of a case are asked in: that of most, the first seen of equals."""
    chosen = majority(modalities)
    assert chosen is not None
    return chosen
