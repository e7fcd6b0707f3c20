"""How weights are run: rules of stages, filters and orientation, as a manifest gives them.

What a field of a file may hold stands in its type, which msgspec checks (``checked.checked``).
"""

from __future__ import annotations

from typing import Annotated, Protocol

import numpy as np
from msgspec import Meta, Struct

from vesal.inference.geometry.views import Box, View

Count = Annotated[int, Meta(ge=1)]
CountOrOff = Annotated[int, Meta(ge=0)]
"""0 switches something off."""
Length = Annotated[float, Meta(ge=0)]
Factor = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
SomeShare = Annotated[float, Meta(gt=0, le=1)]


class StageLayout(Protocol):
    """How one stage of one case lays its views, instead of ``geometry.views.fit_view``."""

    def view(self, box: Box, allowed: int) -> View:
        """The view over ``box`` (native voxel edges) for at most ``allowed`` voxels of all its windows."""

    def solid(self, labels: np.ndarray) -> np.ndarray | None:
        """(D, H, W) bool: which voxels of a coarse label map (D, H, W) count; None: all."""

    def region(self, labels: np.ndarray) -> tuple[Box, bool, str]:
        """Region of the fine stage by a coarse label map (D, H, W), whether it has any, and the reason."""

    def prompt_labels(self, labels: np.ndarray, view: View) -> np.ndarray:
        """A label map (D, H, W) on ``view``: (d, h, w) of the same type, for spatial prompts."""


class StageRule(Struct, frozen=True, forbid_unknown_fields=True):
    """How one stage is run; the spacing is as fine as voxels and windows allow (Medal S 2.5)."""

    window_voxels: Annotated[int, Meta(ge=16**3)]
    """Maximum voxels of one window."""
    max_windows: Count = 1
    """Windows that the view may be cut into; more give a finer spacing, never finer than acquired."""
    overlap: Annotated[float, Meta(ge=0, lt=1)] = 0.5
    """Share of a side that neighbouring windows have in common."""
    min_spacing_mm: Length = 0.0
    """No spacing finer than this; 0: the acquired one."""
    margin_factor: Factor = 1.0
    """Factor on the extent of the region before a view is laid around it."""
    low_threshold: Annotated[float, Meta(gt=0, le=0.5)] = 0.5
    """Of a fine stage: threshold of the region where no coarse probability is above 0.5; 0.5 skips such a
    target."""
    rounds: Count = 1
    """Passes; each later one takes the result before it as spatial prompt (Medal S algorithm 2)."""
    complementary_block: CountOrOff = 0
    """Side in view voxels of the blocks of complementary prompt masks (Medal S 2.4); 0 switches them off."""
    max_targets_per_view: Count = 8
    """Maximum of targets in one view."""
    max_spacing_ratio: Annotated[float, Meta(ge=1)] = 2.5
    """Targets share a view as long as it is at most this much coarser than the finest that one of them would
    have alone (``geometry.view_groups``)."""
    max_windows_if_empty: CountOrOff = 0
    """Windows laid over the whole volume where the coarse stage found nothing; 0 leaves the class empty."""
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
    def layout(self) -> StageLayout | None:
        """Lays the views; None leaves them to ``geometry.views.fit_view``."""
        return None


class LaidStageRule(StageRule, frozen=True, kw_only=True):
    """A stage rule made for one case, whose family lays the views itself."""

    layout: StageLayout


class FilterRule(Struct, frozen=True, forbid_unknown_fields=True):
    """What is removed after the stages."""

    presence_threshold: Share = 0.0
    """Slices whose predicted presence is at or below this are emptied (BiomedParse-V eq. 2); 0 keeps all."""
    slice_nms_iou: Share = 0.0
    """Overlap (intersection over union, per slice) from which two sides of one concept compete; 0: never."""
    component_kinds: tuple[str, ...] = ()
    """Kinds of targets whose components are chosen by Medal S algorithm 3."""
    min_object_voxels: Count = 1
    """Instances with fewer voxels are dropped."""
    max_components: Count = 3
    """Components considered, by size (Medal S algorithm 3)."""
    max_probability_drop: Share = 0.1
    """Mean probability may fall this much below the best one's."""
    high_probability: Share = 0.86
    """Mean probability above which several components may be kept."""
    min_size_ratio: Share | None = 0.6
    """Share of the largest component's voxels that one of higher probability must have; null: no limit."""

    @property
    def component_ids(self) -> tuple[int, ...]:
        """Prompts of a case whose components are chosen whatever their kind."""
        return ()


class CaseFilterRule(FilterRule, frozen=True, kw_only=True):
    """A filter rule made for one case, whose family names the prompts to filter."""

    component_ids: tuple[int, ...]


class OrientationRule(Struct, frozen=True, forbid_unknown_fields=True):
    """When a case is run in other orientations than the stored one (``stages.orientation``)."""

    low_confidence: SomeShare
    """Mean confidence of the coarse stage below which other orientations are tried."""
    min_gain: Annotated[float, Meta(gt=0, lt=1)]
    """By how much the confidence in another orientation has to be higher."""
    min_confidence: SomeShare
    """Confidence that another orientation has to reach: an absent target may give a faint one in any."""
