"""What a page asks to run, out of the JSON that it sends."""

from __future__ import annotations

import json
from typing import Any

from vesal.inference.data.errors import PromptTextError, UsageError, UserPromptError, shown
from vesal.inference.data.user_prompts import BOXES, POINTS, UserPrompts
from vesal.inference.families.contract import Capabilities
from vesal.inference.geometry.views import Sides
from vesal.inference.io.prompt_files import parse_prompts_dict
from vesal.inference.io.user_boxes import parse_boxes
from vesal.inference.io.user_points import parse_points
from vesal.inference.viewer.session import Wanted

KEYS = {"text", "boxes", "points"}


def parse_wanted(body: bytes, shape: Sides, can: Capabilities) -> Wanted:
    """One prompt, `{"text": ..., "boxes": [[d0,h0,w0,d1,h1,w1]], "points": [[d,h,w,label]]}`.

    Args:
        body: JSON; each key may be left out.
        shape: (D,H,W) of the page's grid, in whose voxels boxes and points are.
        can: what the weights take; what they do not is refused.

    Raises:
        UsageError: it is no such JSON.
        CaseError: sentence, boxes or points cannot be used.
    """
    asked = _dict_of(body)
    text = asked.get("text", "")
    if not isinstance(text, str):
        raise PromptTextError(f"text is {shown(text)}; a sentence is wanted.")
    text = text.strip()
    boxes, _ = parse_boxes(asked.get("boxes", []), (1,), shape, "boxes")
    user = UserPrompts(None, boxes, parse_points(asked.get("points", []), (1,), shape, "points"))
    for kind, takes in ((BOXES, can.boxes), (POINTS, can.points)):
        if user.ids(kind) and not takes:
            raise UserPromptError(f"these weights take no {kind}; remove them, or start with other weights.")
    if text:
        parse_prompts_dict({"1": text}, "the page", strict=True)
    elif not user.kinds():
        raise PromptTextError("there is nothing to run: type what to look for.")
    elif not can.unnamed:
        raise PromptTextError("these weights need a sentence beside boxes and points: type what to look for.")
    return Wanted((text,), user)


def _dict_of(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the request is no JSON ({type(error).__name__}).") from error
    if not isinstance(asked, dict) or not asked.keys() <= KEYS:
        raise UsageError(f"the request is {shown(asked)}; a dict with {', '.join(sorted(KEYS))} is wanted.")
    return asked
