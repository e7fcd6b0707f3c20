"""Keys and values of prompts, one by one: what is plainly meant is taken, what is not is refused by name."""

from __future__ import annotations

import re
from typing import Any

from vesal.inference.data.errors import InstanceLabelError, PromptIdError, PromptTextError, shown
from vesal.inference.io.limits import check_sentence

# Label maps are written with at most 16 bits, and the scorer knows no more than 8.
MAX_ID = 65535
INSTANCE_KEY, MODALITY_KEY = "instance_label", "modality"
SENTENCE_KEYS = ("text", "prompt", "sentence", "name", "label", "description")
"""Of a prompt that is a dict, best first."""
FLAGS = {
    **dict.fromkeys(("0", "0.0", "false", "no", "semantic"), False),
    **dict.fromkeys(("1", "1.0", "true", "yes", "instance"), True),
}
"""What `instance_label` may be called, in any case."""


NUMBERED = re.compile(r"(?:label|prompt|class|id|text)[\s_-]?([0-9]{1,5})", re.IGNORECASE)
"""Keys that are an id with a word before it."""


class Repeated(tuple[Any, ...]):
    """The values of a key that comes more than once in one object of a JSON file."""


def is_key(key: Any, name: str) -> bool:
    """Whether a key is the named one, in any case, with `-`, a space or nothing for `_`."""
    return isinstance(key, str) and re.sub(r"[\s_-]", "", key).lower() == name.replace("_", "")


def parse_id(key: Any, source: str) -> int:
    """A whole number from 1 to 65535: int, float or text ('01', 'label_1' are 1). Raises PromptIdError."""
    is_number = (type(key) is int and abs(key) < 10**18) or (
        type(key) is float and key.is_integer() and abs(key) < 10**18
    )
    text = str(int(key)) if is_number else key.strip() if isinstance(key, str) else ""
    numbered = NUMBERED.fullmatch(text)
    text = numbered[1] if numbered else text
    match = re.fullmatch(r"(-?[0-9]{1,18})(?:\.0)?", text)
    if not match:
        raise PromptIdError(
            f"{source}: prompt id {shown(key)} is not a whole number from 1 to {MAX_ID}. Number the prompts "
            f"'1', '2', ...; the only other keys are '{INSTANCE_KEY}' and '{MODALITY_KEY}'."
        )
    if not 1 <= int(match[1]) <= MAX_ID:
        raise PromptIdError(
            f"{source}: prompt id {shown(key)} lies outside 1 to {MAX_ID}. Number from '1' on."
        )
    return int(match[1])


def parse_sentence(value: Any, key: Any, source: str) -> str:
    """A prompt's sentence, without outer white space: text, the first one of a list, or that in a dict.

    Raises PromptTextError: it is no text, blank, or comes twice and differs.
    """
    if isinstance(value, Repeated):
        raise PromptTextError(f"{source}: the key {shown(key)} comes twice in one object. Keep one.")
    sentence = value
    for _ in range(2):  # a list of dicts, or a dict with a list
        if isinstance(sentence, dict):
            sentence = next((sentence[name] for name in SENTENCE_KEYS if name in sentence), sentence)
        if isinstance(sentence, (list, tuple)):
            if not sentence:
                raise PromptTextError(
                    f"{source}: class {shown(key)} has an empty list of sentences. Give it one."
                )
            sentence = next(
                (each for each in sentence if isinstance(each, str) and each.strip()), sentence[0]
            )
    if not isinstance(sentence, str):
        raise PromptTextError(
            f"{source}: the sentence of prompt {shown(key)} is {shown(value)}, "
            f"a {type(value).__name__}; text is wanted. Say what to segment."
        )
    check_sentence(sentence, f"{source}: prompt {shown(key)}")
    if not sentence.strip():
        raise PromptTextError(f"{source}: the sentence of prompt {shown(key)} is blank. Say what to segment.")
    # JSON can spell half characters ('\\ud800') that nothing further down can encode.
    return sentence.strip().encode("utf-8", "replace").decode("utf-8")


def parse_instance(value: Any, source: str) -> tuple[bool | None, tuple[str, ...]]:
    """Whether objects are wanted, and notes; None, an empty list and blank text say nothing: None.

    Numbers, text and a list of one of them are read. Raises InstanceLabelError.
    """
    plain = value[0] if isinstance(value, (list, tuple)) and len(value) == 1 else value
    if plain is None or plain == [] or (isinstance(plain, str) and not plain.strip()):
        return None, ()
    if isinstance(plain, (int, float)) and plain in (0, 1):
        told = (
            () if plain is value else (f"{source}: {INSTANCE_KEY} {shown(value)} is taken as {int(plain)}",)
        )
        return plain == 1, told
    flag = FLAGS.get(plain.strip().lower()) if isinstance(plain, str) else None
    if flag is None:
        raise InstanceLabelError(
            f"{source}: {INSTANCE_KEY} is {shown(value)}; 0 (one label per prompt) or 1 (one label per "
            "object) is wanted. Correct it."
        )
    return flag, (f"{source}: {INSTANCE_KEY} {shown(value)} is taken as {int(flag)}",)
