"""Text to prompts as Python objects: JSON, or a dict or list in Python's notation."""

import ast
import json
from typing import Any

from vesal.inference.data.errors import PromptFileError
from vesal.inference.io.limits import MAX_NOTATION
from vesal.inference.io.prompt_values import Repeated

WANTED = "A dict such as {'1': 'Liver in abdominal CT', 'instance_label': 0} is wanted."


def parse_prompts_text(text: str, source: str) -> Any:
    """JSON text, or a dict or list in Python's notation, or else one sentence, which gets the id 1.

    Raises PromptFileError where it begins like JSON and is none.
    """
    plain = text.strip()
    if not plain.startswith(("{", "[")):
        return {"1": plain} if plain else {}
    try:
        return parse_prompts_json(plain, source)
    except PromptFileError:
        if len(plain) > MAX_NOTATION:
            raise
        try:
            return ast.literal_eval(plain)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            pass
        raise


def parse_prompts_json(text: str, source: str) -> Any:
    """Parse JSON; a key that comes twice has `Repeated`. Raises PromptFileError with line and column."""

    def with_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            found[key] = value if key not in found or found[key] == value else Repeated((found[key], value))
        return found

    try:
        return json.loads(text, object_pairs_hook=with_repeats)
    except json.JSONDecodeError as error:
        raise PromptFileError(
            f"{source}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}. Correct it "
            "there."
        ) from error
    except (
        ValueError,
        RecursionError,
    ) as error:  # an integer of thousands of digits, or brackets nested too deep
        raise PromptFileError(f"{source}: the JSON cannot be read ({error}). {WANTED}") from error
