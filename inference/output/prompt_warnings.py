"""What a reader must know of one prompt's result, for log and page."""

from __future__ import annotations

from vesal.inference.data.results import PromptResult


def prompt_warning(prompt: PromptResult) -> str | None:
    """That a prompt was not run, or that nothing was found, and why; None where neither is so.

    One that was not run need not be empty: a mask of the user's may stand for it.
    """
    if prompt.covered is False:
        return f"prompt {prompt.id} is {'not run' if prompt.voxels else 'empty'}: {prompt.why}"
    if prompt.voxels == 0 and not prompt.lost_to:
        what = prompt.target or prompt.text or "what was marked"
        return f"prompt {prompt.id} is empty: {what} was not found"
    return None
