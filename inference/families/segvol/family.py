"""Family ``segvol``: SegVol as ``weights.convert`` writes it.

The whole volume in one window finds what is asked for by text, boxes or points; windows as acquired around
what was found refine it, each asked again with what the user marked there and the box of what was found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.prompt import Prompt, Query, Target
from vesal.inference.families.bank import Vectors, read_bank
from vesal.inference.families.clip_sentences import Sentences
from vesal.inference.families.contract import Capabilities, Loader, RunGraph
from vesal.inference.families.lazy_graph import LazyGraph
from vesal.inference.families.segvol.candidates import named_targets
from vesal.inference.families.segvol.case_plan import plan_case, understand
from vesal.inference.families.segvol.fields import SegVolFields
from vesal.inference.families.segvol.network import GraphNetwork
from vesal.inference.families.segvol.preprocess import look_at
from vesal.inference.families.segvol.stage import SeenCase, Texts, ZoomStage
from vesal.inference.planning.plan import Plan, Understood
from vesal.inference.planning.profile import Profile
from vesal.inference.prompts.vocabulary import load_vocabulary

CAPABILITIES = Capabilities(
    open_vocabulary=True, boxes=True, points=True, unnamed=True, layouts=("stretch", "window")
)
TEXTS = 32
"""Sentences encoded at once: bounds the memory of a long list."""


class SegVolModel:
    """One network for both stages, and the text encoder."""

    capabilities = CAPABILITIES

    def __init__(
        self, stage: ZoomStage, text: RunGraph, sentences: Sentences, bank: Vectors, fields: SegVolFields
    ) -> None:
        """``text`` takes `input_ids` (P, L) and gives `text` (P, C); ``bank`` has vectors by name."""
        self._stage, self._text, self._sentences = stage, text, sentences
        self._bank, self._fields = bank, fields

    @classmethod
    def describe(cls, profile: Profile) -> Capabilities:
        """See ``contract.FamilyType``."""
        profile.read_family(SegVolFields)
        return CAPABILITIES

    @classmethod
    def open(cls, profile: Profile, runtime: Loader) -> SegVolModel:
        """Open a converted folder; a graph is read when it is first run. Raises ProfileError."""
        fields = profile.read_family(SegVolFields)
        facts, graphs = fields.network, fields.graphs
        # All windows have one size; the number of tokens changes from case to case.
        image = LazyGraph(profile.file(graphs.image), runtime, facts.precision, "always")
        decoder = LazyGraph(profile.file(graphs.decoder), runtime, facts.precision, True)
        # Sentences are encoded once a case: fp32 costs nothing there.
        text = LazyGraph(profile.file(graphs.text), runtime, "fp32")
        bank = {} if profile.bank is None else read_bank(profile.bank)[0]
        stage = ZoomStage(GraphNetwork(image, decoder, facts), fields.kept_windows, fields.extra_points)
        return cls(stage, text, Sentences(profile.file(fields.tokenizer), facts.words), bank, fields)

    def stage(self, name: str) -> ZoomStage:
        """The one network, whatever the stage."""
        return self._stage

    def understands(self, prompt: Prompt) -> Understood:
        """Any prompt: by its targets' names, by its words, or by what the user marked."""
        return understand(prompt)

    def candidates(self, modality: str) -> list[Target]:
        """What a prompt without a sentence may be named; all modalities are asked as CT."""
        return named_targets(self._bank, load_vocabulary().concepts)

    def plan(self, prompts: Sequence[Prompt], profile: Profile, case: Case) -> Plan:
        """See ``contract.Family``; the volume decides what is looked at."""
        return plan_case(prompts, profile, case, self._fields)

    def measure(self, image: np.ndarray) -> SeenCase:
        """Grey levels of a volume (D, H, W), what of it is looked at, and its digest."""
        digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(image).data)
        return SeenCase(look_at(image), digest.digest())

    def encode_prompts(self, queries: Sequence[Query]) -> Texts:
        """Vectors of N prompts; of known names those of the bank. Raises ProfileError."""
        names = [_asked_name(query) for query in queries]
        missing = [name for name in dict.fromkeys(names) if name and name.casefold() not in self._bank]
        found = dict(zip(missing, self._encode(missing), strict=True))
        vectors = tuple(found.get(name, self._bank.get(name.casefold())) if name else None for name in names)
        return Texts(vectors, tuple(f"{query.prompt_id} {query.name}" for query in queries))

    def _encode(self, names: Sequence[str]) -> list[np.ndarray]:
        """Vectors (C,) of names in the sentence that the network was trained with."""
        rows = [self._sentences.ids(self._fields.template.format(name=name)) for name in names]
        found: list[np.ndarray] = []
        for first in range(0, len(rows), TEXTS):
            some = rows[first : first + TEXTS]
            longest = max(count for _, count in some)
            ids = np.stack([row[:longest] for row, _ in some])
            found += list(self._text({"input_ids": ids})["text"])
        return found


def _asked_name(query: Query) -> str:
    """What stands for `{name}`: the target, else the sentence without a full stop; empty without either."""
    if query.concept is not None and not query.sentence:
        return query.name
    return query.sentence.strip().rstrip(".").strip()
