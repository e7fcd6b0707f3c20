"""What a reader of a case must know first."""

from __future__ import annotations

from collections.abc import Iterator

from vesal.inference.data.results import GOOD, CaseReport, PromptResult
from vesal.inference.output.page.markup import number, seconds
from vesal.inference.output.prompt_warnings import prompt_warning


def warnings_of(case: CaseReport) -> tuple[str, ...]:
    """Warnings of a case as plain sentences, the worst first; none where all went as asked for.

    Its notes are no warnings: what a reader did with a file, mostly. Those of what changes the result are.
    """
    return tuple(_warnings(case))


def notes_of(case: CaseReport) -> tuple[str, ...]:
    """Notes of a case that are no warnings."""
    return tuple(note for note in case.notes if note not in case.warnings)


def _warnings(case: CaseReport) -> Iterator[str]:
    if case.error:
        yield f"Error: {case.error}"
    if case.state not in GOOD:
        yield f"The case {case.state}; its output holds {case.written}."
    yield from (f"{line[:1].upper()}{line[1:]}." for line in case.warnings)
    yield from (f"Fallback: {fallback}" for fallback in case.fallbacks)
    if case.budget_s is not None and case.seconds > case.budget_s:
        yield f"It took {seconds(case.seconds)}, more than its budget of {seconds(case.budget_s)}."
    yield from (f"Left out as time was short: {step.step} ({step.why})." for step in case.ladder)
    for prompt in case.prompts:
        yield from _prompt_warnings(prompt)


def _prompt_warnings(prompt: PromptResult) -> Iterator[str]:
    told = prompt_warning(prompt)
    if told is not None:
        yield f"{told[0].upper()}{told[1:]}."
    for other, lost in prompt.lost_to.items():
        yield f"Prompt {prompt.id} lost {number(lost)} voxels to prompt {other}: a voxel has one label only."
