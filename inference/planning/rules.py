"""How weights are run: rules of stages and orientation, as a manifest gives them.

What a field of a file may hold stands in its type, which msgspec checks (``checked.checked``).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol, Self

import numpy as np
from msgspec import Meta, Struct, structs

from vesal.inference.geometry.layouts import Fit, Slices, Stretch, Window
from vesal.inference.geometry.square_slices import SquareSlices
from vesal.inference.geometry.views import Box, Sides, View

Count = Annotated[int, Meta(ge=1)]
CountOrOff = Annotated[int, Meta(ge=0)]
"""0 switches something off."""
Length = Annotated[float, Meta(ge=0)]
Factor = Annotated[float, Meta(gt=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
SomeShare = Annotated[float, Meta(gt=0, le=1)]
Part = tuple[slice, slice, slice]
"""Of an array (D, H, W)."""


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


class QueryRegion(Protocol):
    """How one stage takes the region and the spatial prompt of each target from its own result before, as the
    code of SegVol does. Targets with one region share a view.
    """

    def region(self, probability: np.ndarray | None, view: View | None) -> tuple[Box | None, str]:
        """Region of a target, None where there is none, and the reason.

        Args:
            probability: (d, h, w) float32 of the stage before; None where none was run for it.
            view: where that lies.
        """

    def prompt(self, probability: np.ndarray, source: View, view: View, at: Part) -> np.ndarray:
        """The result before (d, h, w) on ``source`` as a spatial prompt: the part ``at`` of ``view``, float32
        0..1.
        """


class KeptWindows(Protocol):
    """Windows that a family keeps encoded for the other prompts of a case: they cost nothing when they come
    again, which the forecast knows by this.
    """

    def __hash__(self) -> int:
        """Places are kept by it."""

    @property
    def most(self) -> int:
        """How many are kept: the last ones that were used."""

    def place(self, view: View, corner: Sides, size: Sides) -> Hashable:
        """What a window of ``size`` from ``corner`` on (D, H, W) in ``view`` is kept by: equal ones are
        encoded once.
        """


@dataclass(frozen=True, eq=False)
class NativeLabels:
    """Labels of a part of a volume."""

    corner: Sides
    """First native voxel (D, H, W)."""
    labels: np.ndarray
    """(d, h, w) unsigned, prompt ids or sums of them; 0 is background"""
    probability: np.ndarray
    """(d, h, w) float32, of the most probable class; counts only where there is a label"""


class LabelMaker(Protocol):
    """How the probabilities of one stage become labels on the volume's grid, as the code of Medal S and SAT
    does it, instead of by the label map's own rule.
    """

    @property
    def by_slices(self) -> bool:
        """Whether it labels every slice along the view's thick axis by itself: it then gets them one after
        the other, so that memory does not grow with their number.
        """

    def native_labels(
        self, classes: Iterable[tuple[int, np.ndarray]], view: View, threshold: float
    ) -> NativeLabels:
        """Label the part of the volume that a view covers.

        Args:
            classes: prompt ids, each with its probability (d, h, w) float32; read one after the other.
            view: where they lie.
            threshold: a voxel of the view that is not above it in any class is background.
        """


class BlockMasks(Protocol):
    """Draws the half of the blocks that a complementary prompt is seen in."""

    def __call__(self, stage: str, corner: Sides, round_: int, shape: Sides, block: int) -> np.ndarray:
        """Draw the mask of one window.

        Args:
            stage: name of the stage.
            corner: first voxel of the window in its view, (D, H, W).
            round_: 0 is the first; each later one refines.
            shape: of the window, (d, h, w).
            block: side of a block in voxels.

        Returns:
            (d, h, w) bool: where the first of the two calls sees the prompt.
        """


class StageRule(Struct, frozen=True, forbid_unknown_fields=True):
    """How one stage is run (Medal S 2.5 and 2.6, SegVol's zoom-out and zoom-in)."""

    window_voxels: Annotated[int, Meta(ge=1)]
    """Maximum voxels of one window, where the layout may choose."""
    name: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]*\Z")] = "coarse"
    """For report and overrides, and for the family, which may have a network for each stage."""
    role: Literal["locate", "refine"] = "locate"
    """`locate` runs the whole volume; `refine` the region of the result before it, the whole volume where
    there is none."""
    layout: Fit | Window | Stretch | Slices | SquareSlices = Fit()
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
    refine_windows: bool = False
    """Later rounds refine each window by its own prediction, before windows are blended, as in the code of
    Medal S; else by the blended result of the whole view."""
    mirror_axes: tuple[Literal[0, 1, 2], ...] = ()
    """Axes of a window, thick axis first, along which it is mirrored too: all combinations are run, and their
    mean counts (test-time mirroring, as in nnU-Net). Not for targets that training did not show mirrored
    (``CoveredTarget.mirrored``; where that is not told, for none with a side), not where a user marked
    something, and not when time is short."""
    skip_empty: bool = True
    """Windows that show nothing (``StageModel.is_empty``) are not run, where there are several."""

    @property
    def passes(self) -> int:
        """Rounds over the whole view, each from the blended result of the one before."""
        return 1 if self.refine_windows else self.rounds

    @property
    def block_masks(self) -> BlockMasks | None:
        """What draws the halves of complementary prompts; None: the seeded ones of ``stages.block_masks``."""
        return None

    @property
    def label_region(self) -> LabelRegion | None:
        """Takes region and prompts from the label map before; None: from each target's probability."""
        return None

    @property
    def query_region(self) -> QueryRegion | None:
        """Takes the region of each target from its result before; None: grown and grouped by the rule."""
        return None

    @property
    def blends_logits(self) -> bool:
        """Whether the network tells logits, which are averaged where windows overlap, and not
        probabilities.
        """
        return False

    @property
    def keeps_order(self) -> bool:
        """Whether of logits, where they become probabilities, larger ones stay larger however large they are
        (``stages.logits``).
        """
        return False

    @property
    def label_maker(self) -> LabelMaker | None:
        """Makes the labels on the volume's grid; None: the label map itself (``stages.label_map``)."""
        return None

    @property
    def kept_windows(self) -> KeptWindows | None:
        """Which windows are kept encoded for other views; None: each is encoded whenever it comes."""
        return None

    @property
    def spatial_prompts(self) -> bool:
        """Whether the network gets the result of the stage before as spatial prompt."""
        return True

    @property
    def look(self) -> StageRule | None:
        """A cheaper rule by which orientations of a case are compared before this stage is run; None: by its
        own result (``stages.orientation``).
        """
        return None

    @property
    def every(self) -> int:
        """Where windows are runs of slices: every so manieth is run, what lies between is interpolated."""
        return int(getattr(self.layout, "every", 1))

    @property
    def by_slices(self) -> bool:
        """Whether windows are runs of whole slices: a coarser view has as many of them."""
        return hasattr(self.layout, "thinned")

    def thinned(self, every: int) -> Self:
        """The rule with every so manieth run of slices; as it is where windows are none."""
        thinned = getattr(self.layout, "thinned", None)
        return self if every == 1 or thinned is None else structs.replace(self, layout=thinned(every))

    @property
    def view_voxels(self) -> int:
        """Maximum voxels of all windows of a view together."""
        return self.window_voxels * self.max_windows


class CaseStageRule(StageRule, frozen=True, kw_only=True):
    """A stage rule made for one case, whose family lays the views and takes the regions itself."""

    layout: Any
    """A ``geometry.layouts.Layout``."""
    label_region: LabelRegion | None = None
    query_region: QueryRegion | None = None
    label_maker: LabelMaker | None = None
    blends_logits: bool = False
    keeps_order: bool = False
    block_masks: BlockMasks | None = None
    kept_windows: KeptWindows | None = None
    spatial_prompts: bool = True
    look: StageRule | None = None


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


class IdentificationRule(Struct, frozen=True, forbid_unknown_fields=True):
    """When a prompt without a sentence is called by the name of its best candidate (``stages.identify``)."""

    min_score: Share = 0.5
    """Agreement of the candidate with what was marked from which its name is given; below it is run as the
    candidate all the same, where the family needs a name."""
    min_margin: Share = 0.03
    """How far the best candidate is above the next for its name to be given."""
