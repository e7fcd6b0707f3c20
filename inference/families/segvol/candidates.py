"""Names that a mark without a sentence may get: what the bank and the vocabulary both have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from vesal.inference.data.prompt import Target
from vesal.inference.data.terms import SIDES
from vesal.inference.prompts.vocabulary import Concept


def named_targets(names: Iterable[str], concepts: Mapping[str, Concept]) -> list[Target]:
    """Targets of the names that a bank holds, in its order; synonyms and other spellings are left out.

    Of what there is one on each side, the sides alone: whoever marks a kidney marks the left or the right.
    """
    found = (_target(name, concepts) for name in names)
    return [t for t in found if t is not None and bool(t.side) == concepts[t.concept].sided]


def _target(name: str, concepts: Mapping[str, Concept]) -> Target | None:
    """The target whose own name it is; None where it is another's word."""
    first, _, rest = name.partition(" ")
    side, bare = (first, rest) if first in SIDES else (None, name)
    concept = concepts.get(bare)
    return None if concept is None or not concept.target else Target(bare, side, concept.kind)
