"""The rules of a profile as checked, frozen dataclasses, and the switch between paper and published code.

`rules` in a profile holds one object per dataclass below. Where the paper and the published code differ, the
values are the code's; `paper_values` has the paper's, in the same layout, and `"paper": true` lays them over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from vesal.inference.data.errors import ProfileError
from vesal.inference.data.terms import STAGES

T = TypeVar("T")
Sides = tuple[int, int, int]
Lengths = tuple[float, float, float]


@dataclass(frozen=True)
class StageGrid:
    """Window and spacing of one stage's network."""

    crop: Sides
    """Window in voxels, (D,H,W)."""
    target_mm: Lengths
    """Spacing that the network was trained at, (D,H,W)."""


@dataclass(frozen=True)
class SpacingRules:
    """Which spacing a volume is given before it is brought to the target's (rules 18 to 28).

    Where a value is a pair it is for the coarse and the fine stage. Classes are named `CT_Liver`.
    """

    least_mm: float = 0.1
    """A spacing below this is taken for `unit_mm`: it was never measured."""
    swap_above_mm: float = 0.5
    """The longest spacing belongs to the axis with fewest voxels; swapped where it is longer than this."""
    x_along_h: bool = True
    """The file's (x,y,z) is read as (h,w,d), as in the published code; false reads x along w."""
    unit_mm: float = 1.0
    """Spacings below this are raised to it, on axes of at most `most_voxels`."""
    unit_classes: tuple[str, ...] = ()
    """Classes whose spacing is always `unit_mm`."""
    most_voxels: Sides = (700, 1000, 1000)
    """No axis is resampled to more voxels than this, (D,H,W)."""
    divisor: tuple[float, float] = (1.2, 1.2)
    """A single class's spacing above `unit_mm` is divided by this."""
    divisors: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """The same for some classes."""
    far_ratio: float = 3.0
    """Above this ratio of spacing s to target t, a single class's s becomes far_ratio s / (s / t - 0.5)."""
    fit_windows: float = 2.0
    """A single class's axis of more windows than this is brought to this many."""
    fit_from: Mapping[str, float] = field(default_factory=dict)
    """The same for some classes, from fewer windows on: an axis between the two gets this many."""
    fine_below_mm: float = 0.4
    """In the fine stage, a finer spacing over more than `fit_windows` windows is widened."""
    fine_widening: tuple[float, float] = (2.0, 1.5)
    """... by this factor for a single class, and for several."""
    lower_target: bool = True
    """A volume smaller than one window is sampled finer: its target spacing is lowered."""
    enlarging: float = 1.25
    """Base of the powers by which a small volume may be enlarged."""
    most_enlarging: float = 50.0
    """Largest of these powers."""
    factors: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Last factor on the spacing of some classes."""
    volume_windows: float = 1.8
    """A volume of more than this cubed windows is shrunk on its long axes ..."""
    axis_windows: float = 1.9
    """... where they hold more than this many, down to this many ..."""
    shrink: float = 1.1
    """... divided by this where the spacing is above the target ..."""
    shrink_single: bool = False
    """... and where there is a single class only if this is set."""
    fixed: tuple[str, ...] | None = None
    """Modalities that are brought to the target's spacing as it is, the others being left on their own grid
    (SAT); null: by the rules above."""
    corners: bool = False
    """First and last voxels stay first and last when a volume is resampled (SAT)."""
    separate_ratio: float = 3.0
    """Above this ratio of longest to shortest spacing the long axis is resampled by nearest neighbour."""


@dataclass(frozen=True)
class RegionRules:
    """Where the fine stage looks (rules 27 and 29)."""

    factor: float = 1.1
    """On the extent of the coarse foreground."""
    factors: Mapping[str, float] = field(default_factory=dict)
    """The same for some classes; the first one found in the case counts for the whole case."""
    spacing: Mapping[str, Any] = field(default_factory=dict)
    """What differs from `spacing` when the window is measured in native voxels here."""


@dataclass(frozen=True)
class StageRules:
    """Which stages run (rules 5, 30, 39)."""

    skip_coarse: tuple[str, ...] = ()
    """With one of these classes the fine stage looks at the whole volume at once."""
    skip_fine: tuple[str, ...] = ()
    """With one of these classes the coarse result stands."""
    least_component: int = 10
    """Components of the coarse foreground (semantic) and of the result (instance) with fewer voxels go."""


@dataclass(frozen=True)
class RoundRules:
    """Spatial prompts within a stage (rules 7 to 11; Medal S algorithm 2)."""

    semantic: int = 0
    """Refinements of a semantic case."""
    instance: int = 1
    """Refinements of an instance case."""
    never: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Stage to the classes that are never refined in it."""
    block: int = 8
    """Side of the complementary blocks of a prompt from the coarse stage, in voxels."""
    refinement_block: int = 4
    """The same for refinements."""
    binary_prompts: bool = True
    """Prompts are masks (probability above 0.5); false hands on the probabilities."""


@dataclass(frozen=True)
class ComponentFilter:
    """Which classes have their components chosen, and how (rules 1 to 4; Medal S algorithm 3)."""

    classes: tuple[str, ...] | None = ()
    """None: every class."""
    below_voxels: int | None = None
    """Only in volumes of fewer voxels; None: always."""
    instance: bool = False
    """Also in instance cases."""
    max_components: int = 3
    max_probability_drop: float = 0.1
    high_probability: float = 0.86
    min_size_ratio: float | None = None
    """See postprocess.components.ComponentRules."""


@dataclass(frozen=True)
class Rules:
    """All rules of a profile."""

    coarse: StageGrid
    fine: StageGrid
    spacing: SpacingRules
    region: RegionRules
    stages: StageRules
    rounds: RoundRules
    components: ComponentFilter
    paper: bool = False
    """Whether the paper's values were laid over the code's."""

    def grid(self, stage: str) -> StageGrid:
        """Window and target spacing of `coarse` or `fine`."""
        return self.coarse if stage == STAGES[0] else self.fine


PARTS: Mapping[str, type] = {
    "coarse": StageGrid,
    "fine": StageGrid,
    "spacing": SpacingRules,
    "region": RegionRules,
    "stages": StageRules,
    "rounds": RoundRules,
    "components": ComponentFilter,
}


def read_rules(content: Mapping[str, Any], paper: bool | None = None) -> Rules:
    """Rules out of the `rules` object of a profile.

    Args:
        content: parsed JSON: the parts of `Rules`, `paper` and `paper_values`.
        paper: overrides the object's own switch.

    Raises:
        ProfileError: a part or field is unknown or missing, or a value cannot be used.
    """
    _refuse_unknown("rules", content, {*PARTS, "paper", "paper_values"})
    follow_paper = content.get("paper", False) if paper is None else paper
    if not isinstance(follow_paper, bool):
        raise ProfileError(f"paper is {follow_paper!r} in the rules; true or false is wanted.")
    over = content.get("paper_values", {}) if follow_paper else {}
    _refuse_unknown("paper_values", content.get("paper_values", {}), set(PARTS))
    parts: dict[str, Any] = {
        name: _part(kind, {**content.get(name, {}), **over.get(name, {})}, name)
        for name, kind in PARTS.items()
    }
    rules = Rules(**parts, paper=follow_paper)
    _part(SpacingRules, {**content.get("spacing", {}), **rules.region.spacing}, "region.spacing")
    return rules


def _part(kind: type[T], values: Mapping[str, Any], where: str) -> T:
    _refuse_unknown(where, values, {f.name for f in fields(kind)})  # type: ignore[arg-type]
    frozen = {name: _frozen(value) for name, value in values.items()}
    try:
        part = kind(**frozen)
    except TypeError as error:
        raise ProfileError(f"{where} of the rules is incomplete: {error}.") from None
    _check_numbers(part, where)
    return part


def _frozen(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_frozen(item) for item in value)
    if isinstance(value, dict):
        return {key: _frozen(item) for key, item in value.items()}
    return value


def _check_numbers(part: Any, where: str) -> None:
    """Refuse a length or factor that is not above 0, and a triple that is not three."""
    for f in fields(part):
        value = getattr(part, f.name)
        if f.type in ("Sides", "Lengths") and (not isinstance(value, tuple) or len(value) != 3):
            raise ProfileError(f"{where}.{f.name} is {value!r}; three numbers, (D,H,W), are wanted.")
        for number in value if isinstance(value, tuple) else (value,):
            wrong = isinstance(number, str) != ("str" in str(f.type)) or number is True
            if f.type in ("Sides", "Lengths", "float", "tuple[float, float]") and (wrong or not number > 0):
                raise ProfileError(f"{where}.{f.name} is {value!r}; numbers above 0 are wanted.")


def _refuse_unknown(where: str, values: Mapping[str, Any], known: set[str]) -> None:
    unknown = set(values) - known
    if unknown:
        raise ProfileError(f"{where} has unknown fields {sorted(unknown)}; known are {sorted(known)}.")
