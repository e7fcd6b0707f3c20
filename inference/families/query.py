"""Family ``query``: Medal S and SAT as ``weights.convert`` writes them, one network for each stage.

Facts: ``docs/medal_s.md`` 7 to 17, ``docs/sat.md``. Axes are (D, H, W) throughout: the conversion has turned
the networks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vesal.inference.data.case import Case
from vesal.inference.data.errors import ProfileError
from vesal.inference.data.prompt import Prompt
from vesal.inference.data.terms import STAGES
from vesal.inference.families.contract import Loader
from vesal.inference.families.lazy_graph import LazyGraph
from vesal.inference.families.published.case_decisions import PublishedRules
from vesal.inference.families.published.planning import plan_by_rules
from vesal.inference.families.query_bank import QueryBank
from vesal.inference.families.query_manifest import QueryFields, StageGraphs, published_rules
from vesal.inference.families.query_stage import GraphMemory, QueryStage
from vesal.inference.families.query_text import QueryTextEncoder
from vesal.inference.planning.manifest import MANIFEST
from vesal.inference.planning.plan import Plan, make_plan
from vesal.inference.planning.profile import Profile


class QueryModel:
    """Both stages, the bank that they share, and the published system's rules if the profile has them."""

    def __init__(
        self, stages: Mapping[str, QueryStage], bank: QueryBank, rules: PublishedRules | None = None
    ) -> None:
        """``stages`` by name of ``STAGES``; where there is one network only, it serves both."""
        only = next(iter(stages.values()))
        self.coarse, self.fine = (stages.get(name, only) for name in STAGES)
        self._bank, self._rules = bank, rules

    @classmethod
    def open(cls, profile: Profile, runtime: Loader) -> QueryModel:
        """Open a converted folder; a graph is read when its first window comes.

        Raises:
            ProfileError: the family's fields, the bank or the names cannot be used.
        """
        fields = profile.read_family(QueryFields)
        manifest, folder = profile.folder / MANIFEST, profile.folder
        if not fields.graphs or set(fields.graphs) - set(fields.network):
            raise ProfileError(
                f"{manifest} has graphs for the stages {sorted(fields.graphs)} and tells of the networks of "
                f"{sorted(fields.network)}; each stage needs both. Convert the weights again."
            )
        files = fields.text
        encoder = QueryTextEncoder(folder / files.graph, folder / files.tokenizer, runtime) if files else None
        bank = QueryBank.read(profile.bank, encoder)
        wanted = {facts.query for facts in fields.network.values() if facts.query is not None}
        if wanted - {bank.modality.shape[1]}:
            raise ProfileError(
                f"{manifest}: the networks take queries of {sorted(wanted)} numbers, the bank holds "
                f"{bank.modality.shape[1]}. Networks and text encoder do not belong together; convert the "
                "weights with the encoder that was published with them."
            )
        memory = GraphMemory()

        def stage(graphs: StageGraphs, precision: str | None) -> QueryStage:
            plain, prompted = (
                LazyGraph(folder / name, runtime, precision) if name else None
                for name in (graphs.plain, graphs.prompted)
            )
            assert plain is not None
            return QueryStage(plain, prompted, bank, memory)

        stages = {name: stage(g, fields.network[name].precision) for name, g in fields.graphs.items()}
        return cls(stages, bank, published_rules(profile, fields))

    def knows(self, concept: str | None) -> bool:
        """See ``QueryBank.knows``."""
        return self._bank.knows(concept)

    def plan(self, prompts: Sequence[Prompt], profile: Profile, case: Case) -> Plan:
        """See ``contract.Model``; by the published system's rules where there are some."""
        if self._rules is None:
            return make_plan(prompts, profile, self.knows)
        return plan_by_rules(prompts, profile, self.knows, case, self._rules)
