"""Which grid a volume is brought to: Medal S's dynamic resampling as in its published code (rules 18 to 28).

The code works in float32 and rounds to it after every step; so does this, as a grid hangs on its rounding.
Axes are (D,H,W) throughout: all steps but the first and the last treat each axis by itself.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from vesal.inference.data.terms import FINE, STAGES
from vesal.inference.families.published.rules import Lengths, Rules, Sides, SpacingRules, StageGrid

F = np.float32
Length = float | np.float32


@dataclass(frozen=True)
class Grid:
    """The grid of one stage over a volume or a region; all (D,H,W)."""

    spacing_mm: Lengths
    """Spacing that the volume is taken to have; not always a physical one (rules 20 and 22)."""
    target_mm: Lengths
    """Spacing that it is brought to."""
    shape: Sides
    """Voxels after resampling."""
    separate_axis: int | None
    """Axis that is resampled by nearest neighbour, the others linearly; None: all three linearly."""


def plausible_spacing(shape: Sides, spacing_mm: Lengths, rules: SpacingRules) -> Lengths:
    """Mend what no scanner writes (rule 18): a spacing below 0.1 mm, and a long one on the wrong axis.

    Args:
        shape: of the volume, voxels (D,H,W).
        spacing_mm: (D,H,W).
        rules: `least_mm` and `swap_above_mm` count.

    Returns:
        (D,H,W) in mm, float32 values.
    """
    spacing = [F(rules.unit_mm) if s < rules.least_mm else F(s) for s in spacing_mm]
    thinnest, longest = int(np.argmin(shape)), int(np.argmax(spacing))
    if thinnest != longest and spacing[longest] > rules.swap_above_mm:
        spacing[thinnest], spacing[longest] = spacing[longest], spacing[thinnest]
    return _lengths(spacing)


def stage_grid(shape: Sides, spacing_mm: Lengths, classes: Collection[str], stage: str, rules: Rules) -> Grid:
    """The grid of a stage (rules 19 to 28).

    Args:
        shape: of the volume or region, voxels (D,H,W), each 1 or more.
        spacing_mm: (D,H,W), as `plausible_spacing` gives it.
        classes: names `CT_Liver` of all that the case asks for, without repetition; may be empty.
        stage: `coarse` or `fine`.
        rules: of the profile.
    """
    spacing, target = _adapted(shape, spacing_mm, classes, stage, rules.spacing, rules.grid(stage))
    # Python's round, like the code's: halves go to the even number (rule 28).
    sides = [max(1, round(s / t * n)) for s, t, n in zip(spacing, target, shape, strict=True)]
    known, wanted = _lengths(spacing), _lengths(target)
    axis = separate_axis(known, wanted, rules.spacing.separate_ratio)
    return Grid(known, wanted, (sides[0], sides[1], sides[2]), axis)


def fixed_grid(shape: Sides, spacing_mm: Lengths, modality: str, stage: str, rules: Rules) -> Grid:
    """The grid of a stage whose target spacing is fixed (SAT's inference code: 1 x 1 x 3 mm, CT alone).

    Args:
        shape: of the volume, voxels (D,H,W).
        spacing_mm: (D,H,W), as given.
        modality: in our words; one that `spacing.fixed` does not name keeps the volume's own grid.
        stage: `coarse` or `fine`.
        rules: of the profile.
    """
    if modality not in (rules.spacing.fixed or ()):
        return Grid(spacing_mm, spacing_mm, shape, None)
    target = rules.grid(stage).target_mm
    d, h, w = (max(1, round(n * (s / t))) for n, s, t in zip(shape, spacing_mm, target, strict=True))
    return Grid(spacing_mm, target, (d, h, w), None)


def region_spacing_mm(shape: Sides, spacing_mm: Lengths, classes: Collection[str], rules: Rules) -> Lengths:
    """Spacing by which the fine stage's window is measured in native voxels of the whole volume (rule 27).

    The published code repeats the rules of the fine stage with its own copy, which differs; the differences
    are `region.spacing` of the rules.
    """
    adapted = _adapted(shape, spacing_mm, classes, FINE, rules.region_spacing(), rules.fine)
    return _lengths(adapted[0])


def separate_axis(spacing_mm: Lengths, target_mm: Lengths, ratio: float) -> int | None:
    """The axis whose spacing, before or else after resampling, is more than `ratio` times the shortest.

    None where no axis is, or where two share the longest spacing (rule 34).
    """
    for lengths in (spacing_mm, target_mm):
        if max(lengths) / min(lengths) > ratio:
            longest = [axis for axis in range(3) if lengths[axis] == max(lengths)]
            return longest[0] if len(longest) == 1 else None
    return None


def _adapted(
    shape: Sides,
    spacing_mm: Lengths,
    classes: Collection[str],
    stage: str,
    rules: SpacingRules,
    grid: StageGrid,
) -> tuple[list[np.float32], list[Length]]:
    """Spacing and target after rules 19 to 26, (D,H,W); a target that was not lowered keeps its 64 bits."""
    fine = STAGES.index(stage)
    only = next(iter(classes)) if len(classes) == 1 else None
    unit = any(name in rules.unit_classes for name in classes)
    spacing: list[np.float32] = []
    target: list[Length] = []
    for axis in range(3):
        s, n = F(rules.unit_mm if unit else spacing_mm[axis]), shape[axis]
        t: Length = grid.target_mm[axis]
        most, crop = rules.most_voxels[axis], grid.crop[axis]
        if s < rules.unit_mm and n <= most:
            s = F(rules.unit_mm)
        if only is not None:
            s = _single(s, t, only, fine, rules)
        s = _fitted(s, n, crop, only, bool(fine), most, rules)
        if s * n > most and s > t:
            s = F(t)
        elif rules.lower_target and s * n < crop * t:
            smallest = max(F(s * n / crop), F(s / _enlarged(n, crop, rules)))
            t = smallest if smallest < t else t
        for name, pair in rules.factors.items():
            s = F(s * pair[fine]) if name in classes else s
        spacing.append(s)
        target.append(t)
    return _shrunk(spacing, target, shape, only is not None, rules, grid), target


def _single(s: np.float32, t: Length, name: str, fine: int, rules: SpacingRules) -> np.float32:
    """Rule 21: a single class is looked at more coarsely the coarser the volume is."""
    if s <= rules.unit_mm:
        return s
    s = max(F(s / rules.divisors.get(name, rules.divisor)[fine]), F(t))
    return F(rules.far_ratio * s / (s / t - 0.5)) if s / t > rules.far_ratio else s


def _fitted(
    s: np.float32, n: int, crop: int, only: str | None, fine: bool, most: int, rules: SpacingRules
) -> np.float32:
    """Rules 22 and 23: a single class's long axis gets so many windows; else fine spacings are widened."""
    if only is not None:
        for windows in (rules.fit_windows, rules.fit_from.get(only, rules.fit_windows)):
            if n > windows * crop:
                return F(windows * crop / n)
    if fine and s < rules.fine_below_mm and rules.fit_windows * crop < n <= most:
        return F(s * rules.fine_widening[0 if only is not None else 1])
    return s


def _enlarged(n: int, crop: int, rules: SpacingRules) -> float:
    """Rule 24: the largest power of 1.25, up to 50, by which `n` voxels may grow within a window; else 1."""
    power, enlarged = rules.enlarging, 1.0
    while power <= rules.most_enlarging and n <= crop / power:
        enlarged, power = power, power * rules.enlarging
    return enlarged


def _shrunk(
    spacing: list[np.float32],
    target: list[Length],
    shape: Sides,
    single: bool,
    rules: SpacingRules,
    grid: StageGrid,
) -> list[np.float32]:
    """Rule 26: long axes of a large volume are brought to 1.9 windows."""
    volume = math.prod(s * n for s, n in zip(spacing, shape, strict=True))
    # The code compares cubic millimetres with voxels of the window: its own units, kept as they are.
    if not volume > rules.volume_windows**3 * math.prod(grid.crop) or (single and not rules.shrink_single):
        return spacing
    out = []
    for s, t, n, crop in zip(spacing, target, shape, grid.crop, strict=True):
        if s * n > rules.axis_windows * crop * t:
            fitting = rules.axis_windows * crop * t / n
            s = F(max(t, fitting / rules.shrink) if s > t else min(t, fitting))
        out.append(s)
    return out


def _lengths(values: Sequence[Length]) -> Lengths:
    d, h, w = (float(value) for value in values)
    return d, h, w
