"""Families of networks by the name that a manifest gives: how the model of a profile is opened."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from msgspec import Struct

from vesal.inference.data.errors import ProfileError, TextEmbeddingsError
from vesal.inference.data.terms import OFF
from vesal.inference.families.contract import Capabilities, Family, FamilyType, Loader
from vesal.inference.geometry.layouts import Fit
from vesal.inference.planning.manifest import MANIFEST
from vesal.inference.planning.profile import Profile
from vesal.inference.planning.rules import StageRule

NANO, QUERY, BIOMEDPARSE_V, SEGVOL = "nano", "query", "biomedparse-v", "segvol"
VOXTELL, SPAD, CLOSED = "voxtell", "spad", "closed"

FAMILIES: dict[str, str] = {
    NANO: "vesal.inference.families.nano:NanoModel",
    QUERY: "vesal.inference.families.query:QueryModel",
    BIOMEDPARSE_V: "vesal.inference.families.biomedparse.family:BiomedParseModel",
    SEGVOL: "vesal.inference.families.segvol.family:SegVolModel",
    VOXTELL: "vesal.inference.families.voxtell.family:VoxTellModel",
    SPAD: "vesal.inference.families.spad:SpadModel",
    CLOSED: "vesal.inference.families.closed:ClosedModel",
}
"""A line a family: `module:Class`, which is imported when it is opened, as a run needs one of them."""


def open_model(profile: Profile, runtime: Loader) -> Family:
    """The model of a profile; its graphs are read when they are first run.

    Raises:
        ProfileError: there is no such family, its own fields of the manifest are not right, or the profile
            asks for what the family cannot do.
        TextEmbeddingsError: the profile has some of the user's, and the family cannot use them.
    """
    check_profile(profile)
    return family_of(profile).open(profile, runtime)


def family_of(profile: Profile) -> FamilyType:
    """The family that a profile names. Raises ProfileError where there is none of that name."""
    if profile.family not in FAMILIES:
        raise ProfileError(
            f"{profile.folder / MANIFEST} does not describe weights: Expected one of {', '.join(FAMILIES)} "
            f"- at `$.family`, which is {profile.family!r}. Export or convert the weights again."
        )
    module, _, name = FAMILIES[profile.family].partition(":")
    family: FamilyType = getattr(import_module(module), name)
    return family


def check_profile(profile: Profile) -> Capabilities:
    """What the weights of a profile can do, without reading a graph.

    Raises:
        ProfileError: see ``open_model``; the message names the field.
    """
    can = family_of(profile).describe(profile)
    if profile.text_embeddings is not None and not can.text_embeddings:
        raise TextEmbeddingsError(
            f"There are text embeddings, but the weights {profile.name} (family {profile.family}) take none. "
            "Leave them out, or choose weights that look sentences up."
        )
    named = [stage.name for stage in can.stages]
    for at, rule in _rules(profile):
        if named and rule.name not in named:
            _refuse(profile, f"{at}.name", rule.name, f"has networks for {', '.join(named)} only")
        if rule.complementary_block and not can.mask:
            _refuse(
                profile, f"{at}.complementary_block", rule.complementary_block, "takes no spatial prompts"
            )
        if rule.rounds > 1 and not can.mask:
            _refuse(profile, f"{at}.rounds", rule.rounds, "takes no spatial prompts, so it cannot refine")
        if rule.complementary_block == 0 and (rule.refinement_block or rule.binary_prompts) and not can.mask:
            field = "refinement_block" if rule.refinement_block else "binary_prompts"
            _refuse(profile, f"{at}.{field}", getattr(rule, field), "takes no spatial prompts")
        if rule.mirror_axes and not can.mirrors:
            _refuse(profile, f"{at}.mirror_axes", list(rule.mirror_axes), "takes no mirrored windows")
        if any(stage.name == rule.name and stage.role != rule.role for stage in can.stages):
            _refuse(profile, f"{at}.role", rule.role, "has its network of that stage for the other role")
        _check_layout(profile, at, rule.layout, can)
        if isinstance(rule.layout, Fit) and rule.layout.degrees and not can.degrees:
            _refuse(profile, f"{at}.layout.degrees", True, "has no degrees of anisotropy; false is wanted")
        if isinstance(rule.layout, Fit) and rule.layout.degrees:
            ratios, most = rule.layout.degree_ratios, can.highest_degree
            if len(ratios) > most:
                why = f"has networks up to degree {most} only; {most} ratios are wanted at most"
                _refuse(profile, f"{at}.layout.degree_ratios", list(ratios), why)
    if profile.hybrid != OFF and not can.mask:
        _refuse(profile, "$.hybrid", profile.hybrid, "takes no masks; `off` is wanted")
    for n, applied in enumerate(profile.postprocess):
        if applied.needs_presence and not can.presence:
            _refuse(profile, f"$.postprocess[{n}]", type(applied).__name__, "tells no presence")
        if applied.needs_edges and not can.edges:
            _refuse(profile, f"$.postprocess[{n}]", type(applied).__name__, "tells no edges")
    return can


def _check_layout(profile: Profile, at: str, layout: Struct, can: Capabilities) -> None:
    """Raise ProfileError where the family's network cannot be run on windows of a layout."""
    kind = str(type(layout).__struct_config__.tag)
    if can.layouts and kind not in can.layouts:
        _refuse(profile, f"{at}.layout.kind", kind, f"runs on {', '.join(can.layouts)} only")
    for field in ("multiple", "window_dhw", "shape_dhw", "side", "least"):
        value = getattr(layout, field, None)
        sides = value if isinstance(value, tuple) else () if value is None else (value,)
        if any(side % can.side_multiple for side in sides):
            why = f"takes sides that are multiples of {can.side_multiple}"
            _refuse(profile, f"{at}.layout.{field}", value, why)
    context = getattr(layout, "context", None)
    if None not in (context, can.context) and context != can.context:
        _refuse(profile, f"{at}.layout.context", context, f"sees {can.context} slices of context")


def _rules(profile: Profile) -> Iterator[tuple[str, StageRule]]:
    """Every stage rule, also those of some targets only, with its place in the manifest."""
    yield from ((f"$.stages[{n}]", rule) for n, rule in enumerate(profile.stages))
    for n, override in enumerate(profile.overrides):
        yield from ((f"$.overrides[{n}].stages.{rule.name}", rule) for rule in override.stages)


def _refuse(profile: Profile, at: str, came: object, why: str) -> None:
    raise ProfileError(
        f"{profile.folder / MANIFEST}: `{at}` is {came!r}, but the family {profile.family} {why}. "
        "Correct it, or export or convert the weights again."
    )
