"""How weights are run: rules of stages and orientation, as a manifest gives them.

What a field of a file may hold stands in its type, which msgspec checks (``checked.checked``).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol

import numpy as np
from msgspec import Meta, Struct

from vesal.inference.geometry.layouts import Fit, Slices, Stretch, Window
from vesal.inference.geometry.views import Box, View

Count = Annotated[int, Meta(ge=1)]
CountOrOff = Annotated[int, Meta(ge=0)]
"""0 switches something off."""
Length = Annotated[float, Meta(ge=0)]
Factor = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
SomeShare = Annotated[float, Meta(gt=0, le=1)]


class LabelRegion(Protocol):
    """How one stage takes its region and spatial prompts from the label map of the stage before, as the code
    of Medal S and SAT does, instead of from each target's probability. Such a stage runs all targets in one
    view.
    """

    def solid(self, labels: np.ndarray) -> np.ndarray | None:
        """(D, H, W) bool: which voxels of a coarse label map (D, H, W) count; None: all."""

    def region(self, labels: np.ndarray) -> tuple[Box, bool, str]:
        """Region of the stage by a coarse label map (D, H, W), whether it has any, and the reason."""

    def prompt_labels(self, labels: np.ndarray, view: View) -> np.ndarray:
        """A label map (D, H, W) on ``view``: (d, h, w) of the same type, for spatial prompts."""


class StageRule(Struct, frozen=True, forbid_unknown_fields=True):
    """How one stage is run (Medal S 2.5 and 2.6, SegVol's zoom-out and zoom-in)."""

    window_voxels: Annotated[int, Meta(ge=1)]
    """Maximum voxels of one window, where the layout may choose."""
    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]*\Z")] = "coarse"
    """For report and overrides, and for the family, which may have a network for each stage."""
    role: Literal["locate", "refine"] = "locate"
    """`locate` runs the whole volume; `refine` the region of the result before it, the whole volume where
    there is none."""
    layout: Fit | Window | Stretch | Slices = Fit()
    """How views are laid over a region (``geometry.layouts``)."""
    max_windows: Count = 1
    """Windows that the view may be cut into; more give a finer spacing, never finer than acquired."""
    overlap: Annotated[float, Meta(ge=0, lt=1)] = 0.5
    """Share of a side that neighbouring windows have in common."""
    min_spacing_mm: Length = 0.0
    """No spacing finer than this; 0: the acquired one."""
    margin_factor: Factor = 1.0
    """Factor on the extent of the region before a view is laid around it."""
    foreground_threshold: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    """Probability of the stage before above which a voxel belongs to the region."""
    low_threshold: Annotated[float, Meta(gt=0, le=0.5)] = 0.5
    """The same for a target that has no such voxel; a target that has none of these either is not refined."""
    min_component_share: Share = 0.1
    """A component smaller than this share of its target's largest does not stretch the region: one false
    speck at the other end of the body would cost the stage its resolution."""
    keep_outside: bool = False
    """Of the last stage: whether what the one before found outside of a refined view is kept. A second
    lesion far from the first is as likely a lesion; a second liver is none."""
    rounds: Count = 1
    """Passes; each later one takes the result before it as spatial prompt (Medal S algorithm 2)."""
    complementary_block: CountOrOff = 0
    """Side in view voxels of the blocks of complementary prompt masks (Medal S 2.4); 0 switches them off."""
    max_queries: Count = 16
    """Maximum of targets that are run at once where a view is not shared by rule: bounds memory."""
    max_targets_per_view: Count = 8
    """Maximum of targets in one view of a refining stage."""
    max_spacing_ratio: Annotated[float, Meta(ge=1)] = 2.5
    """Targets share a view as long as it is at most this much coarser than the finest that one of them would
    have alone (``geometry.view_groups``)."""
    max_windows_if_empty: CountOrOff = 0
    """Windows laid over the whole volume where the stage before found nothing; 0 leaves the class empty."""
    min_window_prompt: Share = 0.02
    """A window is skipped where its spatial prompt is below this everywhere; 0: never."""
    threshold: SomeShare = 0.5
    """Probability from which a voxel belongs to a class."""
    skip: bool = False
    """The stage is not run."""
    refinement_block: CountOrOff = 0
    """Side of the complementary blocks in later rounds; 0 takes that of the first."""
    merge_unprompted: bool = False
    """Of two complementary predictions each voxel takes the one whose prompt was hidden there; else the
    mean."""
    binary_prompts: bool = False
    """Spatial prompts are masks (probability above 0.5)."""

    @property
    def label_region(self) -> LabelRegion | None:
        """Takes region and prompts from the label map before; None: from each target's probability."""
        return None

    @property
    def view_voxels(self) -> int:
        """Maximum voxels of all windows of a view together."""
        return self.window_voxels * self.max_windows


class CaseStageRule(StageRule, frozen=True, kw_only=True):
    """A stage rule made for one case, whose family lays the views and takes the regions itself."""

    layout: Any
    """A ``geometry.layouts.Layout``."""
    label_region: LabelRegion | None = None


class OrientationRule(Struct, frozen=True, forbid_unknown_fields=True):
    """When a case is run in other orientations than the stored one (``stages.orientation``)."""

    low_confidence: SomeShare
    """Mean confidence of the coarse stage below which other orientations are tried."""
    min_gain: Annotated[float, Meta(gt=0, lt=1)]
    """By how much the confidence in another orientation has to be higher."""
    min_confidence: SomeShare
    """Confidence that another orientation has to reach: an absent target may give a faint one in any."""
    axes_below: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    """Mean confidence below which axes in another order are tried; 0: never. Cases that lie as they were
    learned are above it."""
