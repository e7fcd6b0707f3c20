"""What a manifest of the family ``query`` holds besides what all do, as ``weights.convert`` writes it."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Struct, structs

from vesal.inference.data.errors import ProfileError
from vesal.inference.data.terms import STAGES
from vesal.inference.families.published.case_decisions import PublishedRules
from vesal.inference.families.published.naming import Names, read_names
from vesal.inference.families.published.rules import Lengths, Rules, Sides, read_rules
from vesal.inference.planning.checked import one_of, read_json
from vesal.inference.planning.manifest import MANIFEST, FileName
from vesal.inference.planning.profile import Profile
from vesal.inference.planning.rules import BlockMasks

Stage = Annotated[str, one_of(STAGES)]


class StageGraphs(Struct, frozen=True, forbid_unknown_fields=True):
    """Graph files of one stage."""

    encoder: FileName
    """A window without spatial prompts to what its prompts are decoded from."""
    embed: FileName
    """Prompts of an encoded window to mask embeddings."""
    prompted: FileName | None = None
    """A window with spatial prompts to both; SAT has none."""


class NetworkFacts(Struct, frozen=True, forbid_unknown_fields=True):
    """What the conversion found out about one stage's network; it was trained to see window and spacing."""

    window_dhw: Sides | None = None
    spacing_dhw_mm: Lengths | None = None
    query: int | None = None
    """Numbers that a query has."""
    precision: Annotated[str, one_of(("bf16", "fp32"))] | None = None
    """To run it in; None leaves it to the runtime."""
    # What follows only people read.
    multiple: int | None = None
    prompts: bool | None = None
    parameters: int | None = None
    stored: str | None = None
    why: str | None = None
    agreement: Any = None
    measured_dhw: Sides | None = None
    """Window that the agreement was measured at."""


class TextFiles(Struct, frozen=True, forbid_unknown_fields=True):
    """The text encoder that the folder holds."""

    graph: FileName
    tokenizer: FileName
    # What follows only people read.
    stored: str | None = None
    agreement: Any = None


class QueryFields(Struct, frozen=True, forbid_unknown_fields=True):
    """The family's own fields."""

    graphs: dict[Stage, StageGraphs]
    network: dict[Stage, NetworkFacts]
    text: TextFiles | None = None
    """None: only targets of the bank can be run."""
    rules: dict[str, Any] | None = None
    """See ``published.rules.read_rules``; None: the stages are run by the profile's rules alone."""
    published: bool = False
    """Everything as the published code does it, see ``published.case_decisions.PublishedRules``."""
    names: FileName | None = None
    """File with the names by which the rules know targets; None: no target has rules of its own."""


def published_rules(
    profile: Profile, fields: QueryFields, block_masks: BlockMasks | None = None
) -> PublishedRules | None:
    """The published system's rules for a case; None where a profile has none. Raises ProfileError.

    ``block_masks`` draws the halves of complementary prompts, see ``PublishedRules``.
    """
    if fields.rules is None:
        if fields.published:
            raise ProfileError(
                f"{profile.folder / MANIFEST}: `$.published` is true, but there are no `$.rules` of a "
                "published system. Convert the weights again, or set it to false."
            )
        return None
    rules = read_rules(fields.rules, path=profile.folder / MANIFEST, at="$.rules")
    if rules.paper and fields.published:
        raise ProfileError(
            f"{profile.folder / MANIFEST}: `$.published` and `$.rules.paper` are both true; the one follows "
            "the published code, the other the paper. Set one of them to false."
        )
    names = Names({}, {})
    if fields.names is not None:
        path = profile.file(fields.names)
        names = read_names(read_json(path, f"{MANIFEST} names it. Convert the weights again."), path)
    return PublishedRules(_with_networks(rules, fields), names, fields.published, block_masks)


def _with_networks(rules: Rules, fields: QueryFields) -> Rules:
    """Window and spacing of each stage's network from the conversion, if any, override the rules'."""
    for stage, facts in fields.network.items():
        values = {"crop": facts.window_dhw, "target_mm": facts.spacing_dhw_mm}
        given = {name: value for name, value in values.items() if value is not None}
        rules = structs.replace(rules, **{stage: structs.replace(rules.grid(stage), **given)})
    return rules
