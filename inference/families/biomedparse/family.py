"""Family ``biomedparse-v``: BiomedParse-V as ``weights.convert`` writes it.

Slices of the volume are encoded once each, with their neighbours as channels; every sentence goes to the text
encoder as it stands, once a case; the decoder tells for each pair of slice and sentence the mask, the edges
of objects and whether the target is there at all (the paper's Independent Segmentation Discriminator).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.cross_slice import NO_CROSS_SLICE
from vesal.inference.data.errors import ProfileError
from vesal.inference.data.prompt import Prompt, Query
from vesal.inference.families.biomedparse.case_plan import plan_case
from vesal.inference.families.biomedparse.fields import BOLTZMANN, BiomedParseFields
from vesal.inference.families.biomedparse.fractal import side_multiple
from vesal.inference.families.biomedparse.network import SliceNetwork, Words
from vesal.inference.families.biomedparse.sequences import SequenceNetwork
from vesal.inference.families.clip_sentences import Sentences
from vesal.inference.families.contract import Capabilities, Loader
from vesal.inference.families.lazy_graph import LazyGraph
from vesal.inference.planning.manifest import MANIFEST
from vesal.inference.planning.plan import Plan, Understood, open_sentence
from vesal.inference.planning.profile import Profile

TEXTS = 32
"""Sentences encoded at once: bounds the memory of a long list."""


class BiomedParseModel:
    """One network for all stages, and the text encoder."""

    def __init__(
        self,
        stage: SliceNetwork,
        text: LazyGraph,
        sentences: Sentences,
        fields: BiomedParseFields,
    ) -> None:
        """``text`` takes `input_ids` (P, L) and gives `tokens` (P, L, C)."""
        self._stage, self._text, self._sentences = stage, text, sentences
        self._fields = fields
        self.capabilities = _capabilities(fields)

    @classmethod
    def describe(cls, profile: Profile) -> Capabilities:
        """See ``contract.FamilyType``."""
        fields = _read_fields(profile)
        _decoder(profile, fields)
        return _capabilities(fields)

    @classmethod
    def open(cls, profile: Profile, runtime: Loader) -> BiomedParseModel:
        """Open a converted folder; a graph is read when it is first run. Raises ProfileError."""
        fields = _read_fields(profile)
        precision = fields.network.precision

        def graph(name: str, precision: str | None, one_shape: bool | str = True) -> LazyGraph:
            return LazyGraph(profile.file(name), runtime, precision, one_shape)

        setting = fields.sequences
        # All slices of a stage have one size; the number of prompts changes from slice to slice, and that of
        # slices with the sequences.
        image = graph(fields.graphs.image, precision, True if setting else "always")
        graphs = image, graph(_decoder(profile, fields), precision)
        stage = SequenceNetwork(*graphs, fields, setting) if setting else SliceNetwork(*graphs, fields)
        # Sentences are encoded once a case: fp32 costs nothing there.
        text = graph(fields.graphs.text, "fp32")
        sentences = Sentences(profile.file(fields.tokenizer), fields.network.words)
        return cls(stage, text, sentences, fields)

    def stage(self, name: str) -> SliceNetwork:
        """The one network, whatever the stage."""
        return self._stage

    def understands(self, prompt: Prompt) -> Understood:
        """Any sentence, as it stands."""
        return open_sentence(prompt)

    def candidates(self, modality: str) -> None:
        """Those that the weights list."""

    def plan(self, prompts: Sequence[Prompt], profile: Profile, case: Case) -> Plan:
        """See ``contract.Family``; the volume's shape decides along which axis it is sliced."""
        return plan_case(prompts, profile, case, self._fields, self._length)

    def _length(self, text: str) -> tuple[int, int]:
        """Tokens of a sentence without marks, and how many of them are read at most."""
        return len(self._sentences.pieces(text)), self._sentences.places - 2

    def measure(self, image: np.ndarray) -> bytes:
        """What the draws hang on: a digest of the volume (D, H, W) and its shape."""
        if self._fields.attention != BOLTZMANN:
            return b""
        digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
        digest.update(np.ascontiguousarray(image).data)
        return digest.digest()

    def encode_prompts(self, queries: Sequence[Query]) -> Words:
        """Words of N sentences, cut to their own length. Raises ProfileError."""
        # A lone surrogate cannot be written as UTF-8.
        texts = (query.sentence or query.name for query in queries)
        sentences = tuple(text.encode("utf-8", "replace").decode("utf-8") for text in texts)
        rows = [self._sentences.ids(text) for text in sentences]
        words: list[np.ndarray] = []
        for first in range(0, len(rows), TEXTS):
            some = rows[first : first + TEXTS]
            found = self._text({"input_ids": np.stack([ids for ids, _ in some])})["tokens"]
            words += [each[:count].copy() for each, (_, count) in zip(found, some, strict=True)]
        # A quarter of a gigabyte, and as much again packed, that no slice needs.
        self._text.release()
        return Words(sentences, tuple(words), max((len(each) for each in words), default=0))


def _read_fields(profile: Profile) -> BiomedParseFields:
    """The family's own fields. Raises ProfileError, also where graphs look at slices as they should not."""
    fields = profile.read_family(BiomedParseFields)
    asked, built = (
        (given or NO_CROSS_SLICE).offsets for given in (fields.cross_slice, fields.network.cross_slice)
    )
    if asked != built:
        raise ProfileError(
            f"{profile.folder / MANIFEST}: `$.cross_slice` asks for heads that look {list(asked)} slices "
            f"away, but in the graphs they look {list(built)} away. Convert the weights again for it "
            "(`python -m vesal.weights.convert biomedparse-v ... --cross-slice HEADS OFFSET`)."
        )
    return fields


def _decoder(profile: Profile, fields: BiomedParseFields) -> str:
    """The decoder graph of the attention that is asked for. Raises ProfileError."""
    name = "decoder" if fields.attention == BOLTZMANN else "decoder_full"
    found: str | None = getattr(fields.graphs, name)
    if found is None:
        raise ProfileError(
            f"{profile.folder / MANIFEST}: `$.attention` is {fields.attention!r}, but there is no "
            f"`$.graphs.{name}`. Choose the other attention, or convert the weights again."
        )
    return found


def _capabilities(fields: BiomedParseFields) -> Capabilities:
    return Capabilities(
        open_vocabulary=True,
        presence=True,
        edges=True,
        layouts=("square-slices",),
        side_multiple=max(fields.network.multiple, side_multiple(fields.order)),
    )
