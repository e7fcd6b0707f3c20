"""What a case asks for, in canonical words: the names under which scores are gathered."""

from __future__ import annotations

from dataclasses import dataclass

from vesal.inference.data.case import Case


@dataclass(frozen=True)
class Asked:
    """Modality of a case, and the target of each prompt."""

    modality: str
    targets: dict[int, str]


def describe(case: Case) -> Asked:
    """Return modality and targets as the engine's parser finds them; unknown sentences stand as they are."""
    from vesal.inference.prompts.parser import parse_prompts

    prompts, choice = parse_prompts(case.sentences, name=case.name, image=case.image, encoder=None)
    return Asked(choice.modality, {prompt.id: prompt.name for prompt in prompts})
