"""Family ``voxtell``: VoxTell as ``weights.convert`` writes it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.families.contract import Capabilities, Loader
from vesal.inference.families.lazy_graph import LazyGraph
from vesal.inference.families.voxtell.case_plan import plan_case
from vesal.inference.families.voxtell.fields import VoxTellFields
from vesal.inference.families.voxtell.network import GraphNetwork, PromptNetwork
from vesal.inference.families.voxtell.preprocess import Numbers, measure
from vesal.inference.families.voxtell.presence import check_presence
from vesal.inference.families.voxtell.stage import Queries, WindowStage
from vesal.inference.families.voxtell.text import VoxTellText, check_text
from vesal.inference.planning.plan import Plan, Understood
from vesal.inference.planning.profile import Profile


class VoxTellModel:
    """One network for one stage, and the bank that stands for the text model."""

    def __init__(self, network: PromptNetwork, text: VoxTellText, fields: VoxTellFields) -> None:
        """``fields`` are the profile's."""
        self.capabilities = capabilities_of(fields)
        self._network, self._text, self._fields = network, text, fields
        self._stage = WindowStage(network, fields.presence_logit)

    @classmethod
    def describe(cls, profile: Profile) -> Capabilities:
        """See ``contract.FamilyType``."""
        fields = profile.read_family(VoxTellFields)
        check_text(profile, fields.network.text)
        check_presence(profile, fields.presence_logit)
        return capabilities_of(fields)

    @classmethod
    def open(cls, profile: Profile, runtime: Loader) -> VoxTellModel:
        """Open a converted folder; a graph is read when it is first run. Raises ProfileError."""
        fields = profile.read_family(VoxTellFields)
        graphs, precision = fields.graphs, fields.network.precision
        # All windows have one size, and many prompts run between two of them.
        window = LazyGraph(profile.file(graphs.window), runtime, precision, "in turns")
        prompt = LazyGraph(profile.file(graphs.prompt), runtime, precision, "in turns")
        # Texts are projected once a case: fp32 costs nothing there.
        text = LazyGraph(profile.file(graphs.text), runtime, "fp32")
        return cls(GraphNetwork(window, text, prompt), VoxTellText(profile, fields, runtime), fields)

    def stage(self, name: str) -> WindowStage:
        """The one network, whatever the stage."""
        return self._stage

    def understands(self, prompt: Prompt) -> Understood:
        """The labels of the bank that a prompt is run for, see ``text``."""
        return self._text.understands(prompt)

    def candidates(self, modality: str) -> None:
        """Those that the weights list."""

    def plan(self, prompts: Sequence[Prompt], profile: Profile, case: Case) -> Plan:
        """See ``contract.Family``; the volume decides what is looked at."""
        return plan_case(prompts, profile, case, self._fields, self.understands)

    def measure(self, image: np.ndarray) -> Numbers:
        """Mean and deviation of what is looked at of a volume (D, H, W)."""
        return measure(image)

    def encode_prompts(self, queries: Sequence[Query]) -> Queries:
        """Text embeddings of N prompts, projected. Raises ProfileError."""
        return Queries(self._network.queries(self._text.encode(queries).text))


def capabilities_of(fields: VoxTellFields) -> Capabilities:
    """What weights with these fields of the manifest can do."""
    return Capabilities(
        open_vocabulary=True,
        presence=fields.presence_logit is not None,
        layouts=("window",),
        text_embeddings=True,
        stored_numbers=True,
    )
