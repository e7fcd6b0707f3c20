"""Family ``query``: Medal S and SAT as ``weights.convert`` writes them, one network for each stage.

Facts: ``docs/medal_s.md`` 7 to 17, ``docs/sat.md``. Axes are (D, H, W) throughout: the conversion has turned
the networks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.errors import ProfileError
from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.data.terms import FINE, LOCATE, MODALITIES, REFINE
from vesal.inference.data.user_prompts import BOXES, POINTS
from vesal.inference.families.contract import Capabilities, Loader, StageName
from vesal.inference.families.lazy_graph import LazyGraph
from vesal.inference.families.published.case_decisions import PublishedRules
from vesal.inference.families.published.planning import plan_by_rules
from vesal.inference.families.query_bank import QueryBank, QueryPrompts
from vesal.inference.families.query_manifest import QueryFields, StageGraphs, published_rules
from vesal.inference.families.query_stage import GraphMemory, QueryStage
from vesal.inference.families.query_text import QueryTextEncoder
from vesal.inference.planning.manifest import MANIFEST
from vesal.inference.planning.plan import Plan, Understood, listed_target, make_plan, open_sentence
from vesal.inference.planning.profile import Profile
from vesal.inference.planning.rules import BlockMasks


class QueryModel:
    """All stages, the bank that they share, and the published system's rules if the profile has them."""

    def __init__(
        self,
        stages: Mapping[str, QueryStage],
        bank: QueryBank,
        profile: Profile,
        rules: PublishedRules | None = None,
    ) -> None:
        """``stages`` by name; where there is one network only, it serves every stage."""
        self._stages = stages
        self._bank, self._rules, self._profile = bank, rules, profile
        masks = any(stage.takes_prompts for stage in stages.values())
        self.capabilities = _capabilities(bank.encoder is not None, masks, stages)

    @classmethod
    def describe(cls, profile: Profile) -> Capabilities:
        """See ``contract.FamilyType``."""
        fields = profile.read_family(QueryFields)
        profile.bank_path()
        masks = any(graphs.prompted for graphs in fields.graphs.values())
        return _capabilities(fields.text is not None, masks, fields.graphs)

    @classmethod
    def open(cls, profile: Profile, runtime: Loader, block_masks: BlockMasks | None = None) -> Self:
        """Open a converted folder; a graph is read when its first window comes.

        Args:
            profile: of the folder.
            runtime: reads its graphs.
            block_masks: draws the halves of complementary prompts where the published rules are followed;
                None: the seeded ones.

        Raises:
            ProfileError: the family's fields, the bank or the names cannot be used.
        """
        fields = profile.read_family(QueryFields)
        manifest = profile.folder / MANIFEST
        if not fields.graphs or set(fields.graphs) - set(fields.network):
            raise ProfileError(
                f"{manifest} has graphs for the stages {sorted(fields.graphs)} and tells of the networks of "
                f"{sorted(fields.network)}; each stage needs both. Convert the weights again."
            )
        files = fields.text
        paths = (profile.file(files.graph), profile.file(files.tokenizer)) if files else None
        encoder = QueryTextEncoder(*paths, runtime) if paths else None
        bank = QueryBank.read(profile.bank_path(), encoder)
        wanted = {facts.query for facts in fields.network.values() if facts.query is not None}
        if wanted - {bank.modality.shape[1]}:
            raise ProfileError(
                f"{manifest}: the networks take queries of {sorted(wanted)} numbers, the bank holds "
                f"{bank.modality.shape[1]}. Networks and text encoder do not belong together; convert the "
                "weights with the encoder that was published with them."
            )
        memory = GraphMemory()

        def stage(graphs: StageGraphs, precision: str | None) -> QueryStage:
            # Windows of one stage have one shape as a rule; prompts that are asked come in any number.
            encoder = LazyGraph(profile.file(graphs.encoder), runtime, precision, one_shape=True)
            embed = LazyGraph(profile.file(graphs.embed), runtime, precision)
            prompted = graphs.prompted and LazyGraph(
                profile.file(graphs.prompted), runtime, precision, one_shape=True
            )
            return QueryStage(encoder, embed, prompted or None, memory)

        stages = {name: stage(g, fields.network[name].precision) for name, g in fields.graphs.items()}
        return cls(stages, bank, profile, published_rules(profile, fields, block_masks))

    def stage(self, name: str) -> QueryStage:
        """The network of a stage, or the only one."""
        return self._stages[name] if name in self._stages else next(iter(self._stages.values()))

    def understands(self, prompt: Prompt) -> Understood:
        """Any sentence, through the text encoder; without one the targets that the bank holds."""
        return self._understands(prompt, self._profile)

    def _understands(self, prompt: Prompt, profile: Profile) -> Understood:
        if self._bank.encoder is None:
            listed = listed_target(prompt, profile, self._bank.knows)
            if not listed.queries or not self._bank.knows(prompt.text):
                return listed
            return open_sentence(prompt)
        known = MODALITIES[: len(self._bank.modality)]
        if prompt.modality not in known:
            why = f"{prompt.why}; the weights {profile.name} know {', '.join(known)}, not {prompt.modality}"
            return Understood((), why)
        return open_sentence(prompt)

    def candidates(self, modality: str) -> None:
        """Those that the weights list."""

    def plan(self, prompts: Sequence[Prompt], profile: Profile, case: Case) -> Plan:
        """See ``contract.Family``; by the published system's rules where there are some."""

        def understands(prompt: Prompt) -> Understood:
            return self._understands(prompt, profile)

        if self._rules is None:
            return make_plan(prompts, profile, understands)
        return plan_by_rules(prompts, profile, understands, case, self._rules)

    def measure(self, image: np.ndarray) -> None:
        """Nothing: these networks see raw intensities of the volume (D, H, W)."""

    def encode_prompts(self, queries: Sequence[Query]) -> QueryPrompts:
        """Text parts of N queries, each with what its modality adds: (N, E). Raises ProfileError."""
        return self._bank.encode(queries)


def _capabilities(encoder: bool, masks: bool, stages: Iterable[str]) -> Capabilities:
    """What converted weights can do: with a text encoder, with a network for spatial prompts, for
    ``stages``.
    """
    named = tuple(StageName(name, REFINE if name == FINE else LOCATE) for name in stages)
    # One network alone serves every stage.
    return Capabilities(
        open_vocabulary=encoder,
        mask=masks,
        boxes=masks,
        points=masks,
        drawn=(BOXES, POINTS) if masks else (),
        stages=named if len(named) > 1 else (),
        layouts=("fit", "window", "stretch"),
    )
