"""The rules of a profile as msgspec checks them, and the switch between paper and published code.

`rules` in a manifest holds one object per struct below. Where the paper and the published code differ, the
values are the code's; `paper_values` has the paper's, in the same layout, and `"paper": true` lays them over.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct, convert, structs

from vesal.inference.data.terms import COARSE, STAGES
from vesal.inference.planning.checked import checked, one_of
from vesal.inference.planning.manifest import MANIFEST
from vesal.postprocess.components import Components

Count = Annotated[int, Meta(gt=0)]
Number = Annotated[int, Meta(ge=0)]
Above0 = Annotated[float, Meta(gt=0)]
Sides = tuple[Count, Count, Count]
Lengths = tuple[Above0, Above0, Above0]
Pair = tuple[Above0, Above0]
Stage = Annotated[str, one_of(STAGES)]


class StageGrid(Struct, frozen=True, forbid_unknown_fields=True):
    """Window and spacing of one stage's network."""

    crop: Sides
    """Window in voxels, (D,H,W)."""
    target_mm: Lengths
    """Spacing that the network was trained at, (D,H,W)."""


class SpacingRules(Struct, frozen=True, forbid_unknown_fields=True):
    """Which spacing a volume is given before it is brought to the target's (rules 18 to 28).

    Where a value is a pair it is for the coarse and the fine stage. Classes are named `CT_Liver`.
    """

    least_mm: Above0 = 0.1
    """A spacing below this is taken for `unit_mm`: it was never measured."""
    swap_above_mm: Above0 = 0.5
    """The longest spacing belongs to the axis with fewest voxels; swapped where it is longer than this."""
    x_along_h: bool = True
    """The file's (x,y,z) is read as (h,w,d), as in the published code; false reads x along w."""
    unit_mm: Above0 = 1.0
    """Spacings below this are raised to it, on axes of at most `most_voxels`."""
    unit_classes: tuple[str, ...] = ()
    """Classes whose spacing is always `unit_mm`."""
    most_voxels: Sides = (700, 1000, 1000)
    """No axis is resampled to more voxels than this, (D,H,W)."""
    divisor: Pair = (1.2, 1.2)
    """A single class's spacing above `unit_mm` is divided by this."""
    divisors: Mapping[str, Pair] = {}
    """The same for some classes."""
    far_ratio: Above0 = 3.0
    """Above this ratio of spacing s to target t, a single class's s becomes far_ratio s / (s / t - 0.5)."""
    fit_windows: Above0 = 2.0
    """A single class's axis of more windows than this is brought to this many."""
    fit_from: Mapping[str, Above0] = {}
    """The same for some classes, from fewer windows on: an axis between the two gets this many."""
    fine_below_mm: Above0 = 0.4
    """In the fine stage, a finer spacing over more than `fit_windows` windows is widened."""
    fine_widening: Pair = (2.0, 1.5)
    """... by this factor for a single class, and for several."""
    lower_target: bool = True
    """A volume smaller than one window is sampled finer: its target spacing is lowered."""
    enlarging: Above0 = 1.25
    """Base of the powers by which a small volume may be enlarged."""
    most_enlarging: Above0 = 50.0
    """Largest of these powers."""
    factors: Mapping[str, Pair] = {}
    """Last factor on the spacing of some classes."""
    volume_windows: Above0 = 1.8
    """A volume of more than this cubed windows is shrunk on its long axes ..."""
    axis_windows: Above0 = 1.9
    """... where they hold more than this many, down to this many ..."""
    shrink: Above0 = 1.1
    """... divided by this where the spacing is above the target ..."""
    shrink_single: bool = False
    """... and where there is a single class only if this is set."""
    fixed: tuple[str, ...] | None = None
    """Modalities that are brought to the target's spacing as it is, the others being left on their own grid
    (SAT); null: by the rules above."""
    corners: bool = False
    """First and last voxels stay first and last when a volume is resampled (SAT)."""
    separate_ratio: Above0 = 3.0
    """Above this ratio of longest to shortest spacing the long axis is resampled by nearest neighbour."""


class RegionRules(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the fine stage looks (rules 27 and 29)."""

    factor: Above0 = 1.1
    """On the extent of the coarse foreground."""
    factors: Mapping[str, Above0] = {}
    """The same for some classes; the first one found in the case counts for the whole case."""
    spacing: Mapping[str, Any] = {}
    """What differs from `spacing` when the window is measured in native voxels here."""


class StageRules(Struct, frozen=True, forbid_unknown_fields=True):
    """Which stages run (rules 5, 30, 39)."""

    skip_coarse: tuple[str, ...] = ()
    """With one of these classes the fine stage runs on the whole volume at once."""
    skip_fine: tuple[str, ...] = ()
    """With one of these classes the coarse result stands."""
    least_component: Count = 10
    """Components of the coarse foreground (semantic) and of the result (instance) with fewer voxels go."""


class RoundRules(Struct, frozen=True, forbid_unknown_fields=True):
    """Spatial prompts within a stage (rules 7 to 11; Medal S algorithm 2)."""

    semantic: Number = 0
    """Refinements of a semantic case."""
    instance: Number = 1
    """Refinements of an instance case."""
    never: Mapping[Stage, tuple[str, ...]] = {}
    """Stage to the classes that are never refined in it."""
    block: Number = 8
    """Side of the complementary blocks of a prompt from the coarse stage, in voxels."""
    refinement_block: Number = 4
    """The same for refinements."""
    binary_prompts: bool = True
    """Prompts are masks (probability above 0.5); false hands on the probabilities."""


class PublishedWays(Struct, frozen=True, forbid_unknown_fields=True):
    """What the published code does in another way (rules 6 and 34, `docs/sat.md` 10 to 13); followed where
    the profile says `"published": true`."""

    resampling: Annotated[str, one_of(("masks", "corners"))] = "masks"
    """Labels go back to the volume by each one's interpolated mask (Medal S), or by nearest neighbour with
    the corners in place (SAT)."""
    overlaps: Annotated[str, one_of(("highest", "sum"))] = "highest"
    """Where classes overlap, the most probable one has the voxel, or their ids are added up (SAT)."""
    objects: Annotated[str, one_of(("mask", "labels"))] = "mask"
    """Where objects are wanted: a mask of 0 and 1, or the labels as they are (SAT)."""
    file_names: Mapping[str, str] = {}
    """Modality by the beginning of the file's name, before what the sentences say (SAT)."""


class ComponentFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """Which classes have their components chosen, and how (rules 1 to 4; Medal S algorithm 3)."""

    classes: tuple[str, ...] | None = ()
    """None: every class."""
    below_voxels: Count | None = None
    """Only in volumes of fewer voxels; None: always."""
    instance: bool = False
    """Also in instance cases."""
    choose: Components = Components(min_size_ratio=None)
    """How."""


class PaperValues(Struct, frozen=True, forbid_unknown_fields=True):
    """Some fields of some parts of the rules, as the paper has them."""

    coarse: dict[str, Any] = {}
    fine: dict[str, Any] = {}
    spacing: dict[str, Any] = {}
    region: dict[str, Any] = {}
    stages: dict[str, Any] = {}
    rounds: dict[str, Any] = {}
    components: dict[str, Any] = {}


class Rules(Struct, frozen=True, forbid_unknown_fields=True):
    """All rules of a profile."""

    coarse: StageGrid
    fine: StageGrid
    spacing: SpacingRules = SpacingRules()
    region: RegionRules = RegionRules()
    stages: StageRules = StageRules()
    rounds: RoundRules = RoundRules()
    components: ComponentFilter = ComponentFilter()
    ways: PublishedWays = PublishedWays()
    paper: bool = False
    """Whether the paper's values were laid over the code's."""
    paper_values: PaperValues = PaperValues()

    def grid(self, stage: str) -> StageGrid:
        """Window and target spacing of `coarse` or `fine`."""
        return self.coarse if stage == COARSE else self.fine

    def region_spacing(self) -> SpacingRules:
        """The rules of spacing with which the fine stage's region is measured."""
        return convert({**structs.asdict(self.spacing), **self.region.spacing}, SpacingRules)


def read_rules(
    content: Any, paper: bool | None = None, path: Path = Path(MANIFEST), at: str = "$.rules"
) -> Rules:
    """Rules out of the `rules` object of a manifest.

    Args:
        content: parsed JSON, laid out as `Rules`.
        paper: overrides the object's own switch.
        path: the file, for messages.
        at: where in the file the object stands.

    Raises:
        ProfileError: a part or field is unknown or missing, or a value cannot be used; of the paper's values
            also where they are not chosen.
    """
    code = _checked(content, path, at)
    over = structs.asdict(code.paper_values)
    parts = {name: _laid_over(getattr(code, name), changes) for name, changes in over.items()}
    papers = _checked(parts, path, f"{at}.paper_values")
    chosen = code.paper if paper is None else paper
    return structs.replace(papers if chosen else code, paper=chosen)


def _laid_over(part: Struct, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a part with some changed; of a struct within it only those that are said."""
    fields = structs.asdict(part)
    for name, value in changes.items():
        within = fields.get(name)
        if isinstance(within, Struct) and isinstance(value, Mapping):
            value = {**structs.asdict(within), **value}
        fields[name] = value
    return fields


def _checked(content: Any, path: Path, at: str) -> Rules:
    rules = checked(content, Rules, path, at)
    own = {**structs.asdict(rules.spacing), **rules.region.spacing}
    checked(own, SpacingRules, path, f"{at}.region.spacing")
    return rules
