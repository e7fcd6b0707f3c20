"""From which similarity a bank's nearest label may answer: `python -m vesal.evaluation.near_labels`.

A bank is made of the vocabulary's own labels, as the published one of VoxTell is not part of Vesal. Two
things are measured on sentences whose target is known, what the vocabulary knows being withheld from the
search: how often the nearest label names the target, and how often another is taken where all names of the
target are left out of the bank. Sentences that are labels themselves are left out. Then the whole way is
measured: as it stands, by name, nearest.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from vesal.evaluation.sentences import EMPTY, WEIGHTS, read_sentences

if TYPE_CHECKING:
    from vesal.inference.families.voxtell.text import VoxTellText
    from vesal.inference.prompts.label_fit import Facts
    from vesal.inference.prompts.sentence_encoder import SentenceEncoder
    from vesal.inference.prompts.vocabulary import Vocabulary

THRESHOLDS = (0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
DEFAULT = 0.85
"""``VoxTellFields.min_similarity``."""


@dataclass(frozen=True)
class Known:
    """A sentence with its targets; none where no target of the vocabulary answers it."""

    text: str
    targets: frozenset[str]
    modality: str = "CT"


def challenge_sentences(path: Path, vocabulary: Vocabulary) -> list[Known]:
    """Sentences of the challenge's file, with the targets that the vocabulary's terms say."""
    from vesal.inference.prompts.parser import find_target

    found = []
    for by_id in json.loads(path.read_text(encoding="utf-8")).values():
        for id_, texts in by_id.items():
            for text in () if id_ == "instance_label" else [texts] if isinstance(texts, str) else texts:
                targets = find_target(text, vocabulary).targets
                found.append(Known(text, frozenset(target.name for target in targets)))
    return found


def labelled_sentences() -> list[Known]:
    """Those of ``sentences`` with one target, and names that the vocabulary does not have."""
    found = read_sentences()
    wanted = [s for s in found if len(s.wanted) == 1 or (not s.wanted and s.sort.startswith("names"))]
    return [Known(sentence.text, sentence.wanted, sentence.modality) for sentence in wanted]


def made_labels(vocabulary: Vocabulary) -> list[str]:
    """Names and synonyms of all targets, with their sides, lower-cased, each once."""
    return list(dict.fromkeys(text.lower() for text in _made(vocabulary)))


def _made(vocabulary: Vocabulary) -> Iterator[str]:
    yield from vocabulary.targets()
    for term, concept in vocabulary.terms.items():
        yield term
        if vocabulary.concepts[concept].sided:
            yield from (f"{side} {term}" for side in ("left", "right"))


class Search:
    """The nearest labels, with the vocabulary's knowledge withheld."""

    def __init__(self, labels: Sequence[str], encoder: SentenceEncoder, vocabulary: Vocabulary) -> None:
        """``labels`` are encoded here."""
        from vesal.inference.prompts.label_fit import facts_of

        self._encoder, self._vocabulary = encoder, vocabulary
        self._vectors = encoder.encode(labels)
        facts = [facts_of(label, vocabulary) for label in labels]
        self._targets, self._facts = [fact.targets for fact in facts], [_withheld(fact) for fact in facts]

    def similarities(self, sentences: Sequence[Known], absent: bool) -> list[tuple[float, bool]]:
        """Cosine of the nearest label that fits, -1 where none does, and whether it names the target.

        ``absent``: the names of the target are left out.
        """
        from vesal.inference.prompts.label_fit import asked_words, facts_of

        queries = self._encoder.encode([asked_words(one.text, self._vocabulary) for one in sentences])
        cosines = queries @ self._vectors.T
        asked = [_withheld(facts_of(one.text, self._vocabulary)) for one in sentences]
        return [
            self._first(cosine, facts, one.targets, absent)
            for cosine, facts, one in zip(cosines, asked, sentences, strict=True)
        ]

    def _first(
        self, cosine: np.ndarray, asked: Facts, targets: frozenset[str], absent: bool
    ) -> tuple[float, bool]:
        from vesal.inference.prompts.label_fit import contradiction

        for row in np.argsort(-cosine, kind="stable"):
            if not (absent and self._targets[row] & targets) and not contradiction(
                asked, self._facts[row], False
            ):
                return float(cosine[row]), self._targets[row] == targets
        return -1.0, False


def _withheld(facts: Facts) -> Facts:
    return msgspec.structs.replace(facts, named=frozenset(), targets=frozenset())


def made_text(labels: Sequence[str], folder: Path, encoder: SentenceEncoder, least: float) -> VoxTellText:
    """The way from sentence to label of the family, on a made bank."""
    from vesal.inference.families.voxtell.text import VoxTellText
    from vesal.inference.planning.profile import read_profile
    from vesal.inference.prompts.label_vectors import make_label_vectors, write_label_vectors
    from vesal.inference.prompts.text_bank import TextBank, write_text_bank
    from vesal.inference.runtime.choice import choose_runtime

    write_text_bank(folder / "bank.npz", TextBank(tuple(labels), np.zeros((len(labels), 1), np.float16)))
    write_label_vectors(folder / "label_vectors.npz", make_label_vectors(labels, encoder), encoder)
    profile = read_profile(WEIGHTS / "nano")
    profile = replace(profile, folder=folder, bank=folder / "bank.npz", files=("label_vectors.npz",))
    fields = SimpleNamespace(label_vectors="label_vectors.npz", min_similarity=least)
    return VoxTellText(profile, fields, choose_runtime("onnxruntime", 1))


def whole_way(text: VoxTellText, sentences: Sequence[Known], encoder: SentenceEncoder) -> tuple[int, int]:
    """How many sentences are asked as their targets, and how many as something else."""
    from vesal.inference.prompts.label_fit import facts_of
    from vesal.inference.prompts.parser import parse_prompts
    from vesal.inference.prompts.vocabulary import load_vocabulary

    right = wrong = 0
    for one in sentences:
        asked = {1: one.text}
        (prompt,), _ = parse_prompts(
            asked, name="x", image=EMPTY, encoder=lambda: encoder, modality=one.modality
        )
        queries = text.understands(prompt).queries
        named = [facts_of(query.name, load_vocabulary()).targets for query in queries]
        is_right = frozenset().union(*named) == one.targets
        right, wrong = right + (bool(queries) and is_right), wrong + (bool(queries) and not is_right)
    return right, wrong


def main(arguments: Sequence[str] | None = None) -> int:
    """Print shares by threshold, and the whole way at the default one."""
    from vesal.inference.prompts.sentence_encoder import SentenceEncoder
    from vesal.inference.prompts.vocabulary import load_vocabulary
    from vesal.inference.runtime.choice import choose_runtime

    parser = argparse.ArgumentParser("python -m vesal.evaluation.near_labels", description=main.__doc__)
    parser.add_argument(
        "--challenge", type=Path, help="the challenge's file of sentences, beside our own lists"
    )
    options = parser.parse_args(arguments)
    vocabulary = load_vocabulary()
    encoder = SentenceEncoder(WEIGHTS / "text", choose_runtime("onnxruntime", 1))
    labels = made_labels(vocabulary)
    search = Search(labels, encoder, vocabulary)
    lists = {"our lists": labelled_sentences()}
    if options.challenge:
        lists["challenge"] = challenge_sentences(options.challenge, vocabulary)
    with tempfile.TemporaryDirectory() as folder:
        text = made_text(labels, Path(folder), encoder, DEFAULT)
        for name, sentences in lists.items():
            print(_told(name, sentences, labels, search))
            for sort, mine in (
                ("with a target", [one for one in sentences if one.targets]),
                ("without one", [one for one in sentences if not one.targets]),
            ):
                right, wrong = whole_way(text, mine, encoder)
                print(f"{name}, {sort}, whole way: {right} of {len(mine)} right, {wrong} as something else")
    return 0


def _told(name: str, sentences: Sequence[Known], labels: Sequence[str], search: Search) -> str:
    """A table of shares by threshold."""
    asked = [one for one in sentences if one.targets and one.text.lower() not in set(labels)]
    there, gone = (search.similarities(asked, absent) for absent in (False, True))
    lines = [
        f"{name}: {len(asked)} sentences that are no label, {len(labels)} labels",
        "similarity  right  wrong  wrong where the target has no label",
    ]
    for least in THRESHOLDS:
        right = sum(ok for cosine, ok in there if cosine >= least) / len(asked)
        wrong = sum(not ok for cosine, ok in there if cosine >= least) / len(asked)
        taken = sum(cosine >= least for cosine, _ in gone) / len(asked)
        lines.append(f"{least:10.2f} {right:6.1%} {wrong:6.1%} {taken:6.1%}")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
