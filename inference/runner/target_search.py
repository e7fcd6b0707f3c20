"""What `vesal --list WORDS` prints: what the words are read as, and the targets that are called so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from vesal.inference.data.prompt import Prompt
from vesal.inference.families.registry import check_profile
from vesal.inference.output.text_table import aligned
from vesal.inference.planning.profile import Profile
from vesal.inference.prompts.parser import parse_prompts
from vesal.inference.prompts.vocabulary import Concept, load_vocabulary

NOTHING = np.zeros((1, 1, 1), np.uint8)
"""In place of a volume: no image is looked at for words."""


def search_targets(words: str, profiles: Sequence[Profile]) -> str:
    """What is known of ``words``; empty where they are read as no target and no target is called so.

    First the sentence as a prompt: target, and which weights cover it; then all targets of which a name has
    the words in it, with synonyms and weights.
    """
    (prompt,), _ = parse_prompts({1: words}, name="", image=NOTHING)
    read = {target.concept for target in prompt.targets}
    concepts = load_vocabulary().concepts.values()
    called = [each for each in concepts if each.name in read or _is_called(each, words)]
    if not prompt.targets and not called:
        return ""
    return "\n".join([*_reading(prompt, profiles), "", *_table(called, profiles)]).rstrip()


def _reading(prompt: Prompt, profiles: Sequence[Profile]) -> Iterable[str]:
    """How a sentence is read, and by which weights each target is covered."""
    yield f"{prompt.text!r} is read as {prompt.target or 'no target'}: {prompt.why}"
    for target in prompt.targets:
        yield f"  {target.name}: {_covered(target.concept, target.side, profiles)}"
    if open_ones := [profile.name for profile in profiles if _is_open(profile)]:
        yield f"  any sentence, as it stands: {', '.join(open_ones)}"


def _table(concepts: Sequence[Concept], profiles: Sequence[Profile]) -> Iterable[str]:
    """Concepts with their synonyms and the weights that cover them."""
    if not concepts:
        return []
    rows = [("target", "covered by", "synonyms")]
    rows += [
        (concept.name, _covered(concept.name, None, profiles), ", ".join(concept.terms) or "-")
        for concept in sorted(concepts, key=lambda concept: concept.name)
    ]
    return aligned(rows)


def _covered(concept: str, side: str | None, profiles: Sequence[Profile]) -> str:
    """Weights with the modalities in which they know a target; of both sides where none is asked for."""
    found = []
    for profile in profiles:
        modalities = sorted(
            {
                target.modality
                for target in profile.targets
                if target.concept == concept and (side is None or target.side in (None, side))
            }
        )
        if modalities:
            found.append(f"{profile.name} ({', '.join(modalities)})")
    return ", ".join(found) or "no weights that are here"


def _is_called(concept: Concept, words: str) -> bool:
    wanted = words.lower().split()
    names = (concept.name, *concept.terms)
    return concept.target and any(all(word in name.lower() for word in wanted) for name in names)


def _is_open(profile: Profile) -> bool:
    """Whether weights read any sentence themselves."""
    return bool(check_profile(profile).open_vocabulary)
