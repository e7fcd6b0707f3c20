"""What a published system's rules say of one case: plan, views of both stages, windows and rounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vesal.inference.data.terms import STAGES
from vesal.inference.families.published.case_rules import CaseRules, GridLayout
from vesal.inference.families.published.decisions import CasePlan, plan_named, refinements
from vesal.inference.families.published.naming import Named, Names, majority
from vesal.inference.families.published.rules import Rules
from vesal.inference.families.published.spacing import plausible_spacing
from vesal.inference.geometry.tilings import tiles
from vesal.inference.geometry.views import Sides, Triple, whole
from vesal.inference.planning.rules import BlockMasks

THEIR_MODALITY = {"MR": "MRI"}
"""Where the rules' word for a modality is not ours."""
OUR_MODALITY = {theirs: ours for ours, theirs in THEIR_MODALITY.items()}


@dataclass(frozen=True, eq=False)
class PublishedRules:
    """What a profile of a published system holds beside the stage rules; compared by identity."""

    rules: Rules
    names: Names
    published: bool = False
    """Everything as the published code does it; else as Vesal does where the two differ."""
    block_masks: BlockMasks | None = None
    """Draws the halves of complementary prompts; None: the seeded ones."""


@dataclass(frozen=True)
class CaseDecisions:
    """What the rules say of one case."""

    plan: CasePlan
    case: CaseRules
    layouts: Mapping[str, GridLayout]
    windows: Mapping[str, int]
    """windows over the whole volume, by stage"""
    rounds: Mapping[str, int]


def decide(
    sentences: Mapping[int, tuple[str, str | None, str]],
    shape: Sides,
    spacing_dhw_mm: Triple,
    instance: bool,
    ruled: PublishedRules,
    name: str = "",
) -> CaseDecisions:
    """Apply the rules to a case.

    Args:
        sentences: prompt id to (sentence, target, modality) of the prompts that are run.
        shape: of the volume, (D,H,W).
        spacing_dhw_mm: of the volume.
        instance: instances are wanted.
        ruled: of the profile.
        name: of the case's file.
    """
    rules = ruled.rules
    plan = plan_named(
        {i: _named(*about, instance, ruled.names) for i, about in sentences.items()}, shape, instance, rules
    )
    d, h, w = spacing_dhw_mm
    seen = (d, w, h) if rules.spacing.x_along_h else (d, h, w)
    spacing = plausible_spacing(shape, seen, rules.spacing) if rules.spacing.fixed is None else seen
    modality = one_modality([modality for _, _, modality in sentences.values()])
    if ruled.published:
        modality = _their_modality(name, plan.modality, rules) or modality
    case = CaseRules(rules, shape, spacing, plan.classes, instance, modality)
    layouts, windows, rounds = {}, {}, {}
    for stage in STAGES:
        crop = rules.grid(stage).crop
        windows[stage] = len(tiles(case.view(whole(shape), stage).shape, crop))
        layouts[stage] = GridLayout(case, stage, windows[stage] * math.prod(crop))
        rounds[stage] = 1 + refinements(plan.classes, stage, instance, rules)
    return CaseDecisions(plan, case, layouts, windows, rounds)


def _their_modality(name: str, of_sentences: str | None, rules: Rules) -> str | None:
    """The modality that the published code finds, in our words: by the file's name, else by the sentences."""
    of_name = next((m for start, m in rules.ways.file_names.items() if name.startswith(start)), None)
    return of_name or OUR_MODALITY.get(of_sentences or "", of_sentences)


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
    """The modality that all prompts of a case are run in: that of most, of equals the first."""
    chosen = majority(modalities)
    assert chosen is not None
    return chosen
