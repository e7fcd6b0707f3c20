"""What is done with a case as a whole: its classes, stages and filters (rules 2, 5 to 8, 30, 31, 38)."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from vesal.inference.families.published.naming import Named, majority
from vesal.inference.families.published.rules import Rules, Sides


@dataclass(frozen=True)
class CasePlan:
    """The decisions on one case, before anything is run."""

    named: Mapping[int, Named]
    """Prompt id to what its sentence was read as."""
    modality: str | None
    """The one that the text encoder is given for all prompts; None where no sentence names one."""
    classes: tuple[str, ...]
    """Names `CT_Liver` of all prompts that have one, sorted, each once."""
    coarse: bool
    fine: bool
    filtered: tuple[int, ...]
    """Ids whose components are chosen, ascending."""
    probabilities: bool
    """Whether some class would be filtered in a small enough volume, so that probabilities are needed."""

    def empty(self) -> dict[int, str]:
        """Prompts without a class, and why: their classes come out empty."""
        return {id_: named.why for id_, named in self.named.items() if named.full_name is None}


def plan_named(named: Mapping[int, Named], shape: Sides, instance: bool, rules: Rules) -> CasePlan:
    """Decide on a case.

    Args:
        named: prompt id to what its sentence was read as, in the order given.
        shape: of the volume, voxels (D,H,W).
        instance: `instance_label` 1.
        rules: of the profile.
    """
    full = {id_: n.full_name for id_, n in named.items()}
    classes = tuple(sorted({name for name in full.values() if name is not None}))
    skip_fine = any(name in rules.stages.skip_fine for name in classes)
    # The code asks for the classes without a fine stage first; a case cannot skip both.
    skip_coarse = not skip_fine and any(name in rules.stages.skip_coarse for name in classes)
    chosen = sorted(id_ for id_, name in full.items() if name and is_filtered(name, instance, rules))
    return CasePlan(
        named=named,
        modality=majority(n.modality for n in named.values()),
        classes=classes,
        coarse=not skip_coarse,
        fine=not skip_fine,
        filtered=tuple(chosen) if filters_volume(shape, rules) else (),
        probabilities=bool(chosen),
    )


def is_filtered(name: str, instance: bool, rules: Rules) -> bool:
    """Whether the components of a class are chosen by probability and size (rule 2)."""
    if instance and not rules.components.instance:
        return False
    return rules.components.classes is None or name in rules.components.classes


def filters_volume(shape: Sides, rules: Rules) -> bool:
    """Whether components are chosen in a volume of this shape (D,H,W)."""
    below = rules.components.below_voxels
    return below is None or math.prod(shape) < below


def refinements(classes: Collection[str], stage: str, instance: bool, rules: Rules) -> int:
    """Later predictions that take the one before as spatial prompt, two network calls a window each (rule 8).

    One class that is never refined in this stage is enough to have none.
    """
    if any(name in rules.rounds.never.get(stage, ()) for name in classes):
        return 0
    return rules.rounds.instance if instance else rules.rounds.semantic
