"""What sentences are taken for, on lists labelled by hand: `python -m vesal.evaluation.sentences`.

`sentences_answered.json`: modality -> targets of the default weights, with commas between -> sentences that
ask for all of them (a target in brackets may be there or not). `sentences_unanswered.json`: modality -> sort
-> sentences that no target of these weights answers. Thresholds were set on the half `tuning`; what is said
of them is measured on the half `held out`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from vesal.inference.planning.profile import Profile
    from vesal.inference.prompts.guess import Encoder

HERE = Path(__file__).parent
ANSWERED, UNANSWERED = HERE / "sentences_answered.json", HERE / "sentences_unanswered.json"
HALVES = TUNING, HELD_OUT = "tuning", "held out"
WEIGHTS = HERE.parent / "weights"
EMPTY = np.zeros((1, 1, 1), np.uint8)


@dataclass(frozen=True)
class Sentence:
    """A sentence and its label."""

    text: str
    modality: str
    sort: str
    wanted: frozenset[str] = frozenset()
    """targets that the weights are to be run for; none where there is no answer"""
    allowed: frozenset[str] = frozenset()
    """targets that may be run besides"""

    @property
    def half(self) -> str:
        """`tuning` or `held out`, by a digest of the text: adding a sentence moves no other."""
        return HALVES[sha256(self.text.encode()).digest()[0] % 2]


@dataclass(frozen=True)
class Outcome:
    """What a sentence was taken for."""

    sentence: Sentence
    run: frozenset[str]
    """targets that the weights are run for"""
    found_by: str
    why: str

    @property
    def is_right(self) -> bool:
        """Whether what is run is what is wanted."""
        wanted, allowed = self.sentence.wanted, self.sentence.allowed
        return wanted <= self.run <= wanted | allowed


@dataclass(frozen=True)
class Rates:
    """Counts of outcomes."""

    answered: int
    """sentences with an answer"""
    right: int
    """of these, run as wanted"""
    unanswered: int
    """sentences without one"""
    refused: int
    """of these, not run"""
    run: int
    """sentences of both that something is run for"""

    @property
    def recall(self) -> float:
        """Share of right ones of those with an answer."""
        return self.right / max(1, self.answered)

    @property
    def precision(self) -> float:
        """Share of right ones of those that are run."""
        return self.right / max(1, self.run)

    @property
    def refusal(self) -> float:
        """Share of refused ones of those without an answer."""
        return self.refused / max(1, self.unanswered)


def read_sentences() -> list[Sentence]:
    """Both lists."""
    found = []
    for modality, by_target in json.loads(ANSWERED.read_text(encoding="utf-8")).items():
        for names, texts in by_target.items():
            each = [name.strip() for name in names.split(",")]
            wanted = frozenset(name for name in each if not name.startswith("("))
            allowed = frozenset(name.strip("()") for name in each if name.startswith("("))
            found += [Sentence(text, modality, names, wanted, allowed) for text in texts]
    for modality, by_sort in json.loads(UNANSWERED.read_text(encoding="utf-8")).items():
        for sort, texts in by_sort.items():
            found += [Sentence(text, modality, sort) for text in texts]
    return found


def take(sentences: Iterable[Sentence], profile: Profile, encoder: Encoder | None) -> list[Outcome]:
    """What the weights of a profile are run for, sentence by sentence."""
    from vesal.inference.planning.plan import listed_target
    from vesal.inference.prompts.parser import parse_prompts

    outcomes = []
    for sentence in sentences:
        asked = {1: sentence.text}
        prompts, _ = parse_prompts(asked, name="x", image=EMPTY, encoder=encoder, modality=sentence.modality)
        understood = listed_target(prompts[0], profile, lambda concept: True)
        run = frozenset(query.name for query in understood.queries)
        outcomes.append(Outcome(sentence, run, prompts[0].found_by, understood.why))
    return outcomes


def rates(outcomes: Sequence[Outcome], keep: Callable[[Outcome], bool] = lambda outcome: True) -> Rates:
    """Count the outcomes that are kept."""
    kept = [outcome for outcome in outcomes if keep(outcome)]
    answered = [outcome for outcome in kept if outcome.sentence.wanted]
    unanswered = [outcome for outcome in kept if not outcome.sentence.wanted]
    return Rates(
        len(answered),
        sum(outcome.is_right for outcome in answered),
        len(unanswered),
        sum(outcome.is_right for outcome in unanswered),
        sum(bool(outcome.run) for outcome in kept),
    )


def default_setup() -> tuple[Profile, Encoder]:
    """The default weights' profile and the text encoder."""
    from vesal.inference.planning.profile import read_profile
    from vesal.inference.prompts.sentence_encoder import SentenceEncoder
    from vesal.inference.runtime.choice import choose_runtime

    encoder = SentenceEncoder(WEIGHTS / "text", choose_runtime("onnxruntime", 1))
    return read_profile(WEIGHTS / "nano"), lambda: encoder


def main(arguments: Sequence[str] | None = None) -> int:
    """Print rates of both halves, and with `--errors` every sentence of a half that was taken wrongly."""
    parser = argparse.ArgumentParser("python -m vesal.evaluation.sentences", description=main.__doc__)
    parser.add_argument("--errors", choices=HALVES, help="the half whose errors are shown")
    options = parser.parse_args(arguments)
    outcomes = take(read_sentences(), *default_setup())
    for half in HALVES:
        mine = [outcome for outcome in outcomes if outcome.sentence.half == half]
        print(f"{half}: {_shown(rates(mine))}")
        print(f"{half}, guessed alone: {_shown(rates(mine, lambda outcome: outcome.found_by == 'encoder'))}")
    for outcome in outcomes:
        if options.errors == outcome.sentence.half and not outcome.is_right:
            wanted = ", ".join(sorted(outcome.sentence.wanted)) or "none"
            run = ", ".join(sorted(outcome.run)) or "none"
            print(f"{outcome.sentence.modality} {outcome.sentence.text!r}: wanted {wanted}; run {run}")
            print(f"  {outcome.why}")
    return 0


def _shown(r: Rates) -> str:
    """Rates in one line."""
    return (
        f"with an answer {r.right} of {r.answered} right ({r.recall:.1%}); "
        f"without one {r.refused} of {r.unanswered} refused ({r.refusal:.1%}); "
        f"of {r.run} that are run {r.right} right ({r.precision:.1%})"
    )


if __name__ == "__main__":
    raise SystemExit(main())
