"""Prompts as they come: a dict in the npz, a JSON file, or the challenge's file keyed by dataset.

All three end in the same `Prompts`. A JSON file replaces the prompts of the case as a whole, `instance_label`
too.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesal.inference.data.errors import (
    InstanceLabelError,
    NoPromptsError,
    PromptFileError,
    PromptIdError,
    PromptTextError,
    shown,
)

# Label maps are written with at most 16 bits, and the scorer knows no more than 8.
MAX_ID = 65535

# The challenge's own file has 0.2 MB.
MAX_FILE_BYTES = 64 * 1024 * 1024

INSTANCE_KEY = "instance_label"

_WANTED = "A dict such as {'1': 'Liver in abdominal CT', 'instance_label': 0} is wanted."


@dataclass(frozen=True)
class Prompts:
    """Checked prompts: sentences by id in the order given, the kind of labels, notes for the report."""

    sentences: dict[int, str]
    instance: bool
    dataset: str | None = None
    notes: tuple[str, ...] = ()


def parse_prompts_dict(content: Any, source: str) -> Prompts:
    """Check a flat dict `{id: sentence, ..., 'instance_label': 0 or 1}`; `source` names it in messages.

    Ids are whole numbers from 1 to 65535, as int or as text (`'01'` is 1); sentences lose outer white space.
    A missing `instance_label` means 0 and leaves a note. Raises PromptFileError (not a dict), PromptIdError,
    PromptTextError, InstanceLabelError or NoPromptsError.
    """
    if not isinstance(content, dict):
        raise PromptFileError(f"{source}: the prompts are a {type(content).__name__}. {_WANTED}")
    spelled: dict[int, Any] = {}
    sentences: dict[int, str] = {}
    for key, sentence in content.items():
        if key == INSTANCE_KEY:
            continue
        number = _parse_id(key, source)
        if number in spelled:
            raise PromptIdError(
                f"{source}: {shown(spelled[number])} and {shown(key)} are two spellings of prompt id "
                f"{number}. Keep one."
            )
        spelled[number] = key
        sentences[number] = _parse_sentence(sentence, key, source)
    if not sentences:
        raise NoPromptsError(f"{source}: there is no prompt among {_listed(content)}. {_WANTED}")
    instance, notes = _parse_instance(content, source)
    return Prompts(sentences, instance, notes=notes)


def find_prompts_file(
    case: Path, name: str, prompts_file: Path | None, dataset: str | None
) -> Prompts | None:
    """Prompts of case `name` that replace those in it: of `prompts_file`, else of NAME.json beside `case`.

    None where there is neither. Raises what `read_prompts_file` raises.
    """
    if prompts_file is not None:
        return read_prompts_file(Path(prompts_file), name, dataset)
    beside = prompts_file_beside(case, name)
    return read_prompts_file(beside, name, dataset) if beside.exists() else None


def prompts_file_beside(case: Path, name: str) -> Path:
    """Where the prompts of case `name` lie beside it, if anywhere: NAME.json."""
    return case.with_name(f"{name}.json")


def read_prompts_file(path: Path, case_name: str, dataset: str | None = None) -> Prompts:
    """Read a JSON file of prompts for the case `case_name`.

    Two layouts are known: the flat dict of `parse_prompts_dict`, for any case, and the challenge's file,
    which maps dataset -> {id: [sentences], ..., 'instance_label'}. Of the latter the entry `dataset` is
    taken, or else the longest key that the case's name starts with, and of each class the first sentence (the
    bare name in the challenge's file). All classes of the entry are prompted. Raises PromptFileError and what
    `parse_prompts_dict` raises.
    """
    content = _read_json(path)
    source = path.name
    if not isinstance(content, dict) or not any(isinstance(value, dict) for value in content.values()):
        flat = parse_prompts_dict(content, source)
        return Prompts(flat.sentences, flat.instance, dataset, flat.notes)
    key = _choose_dataset(content, case_name, dataset, source)
    if not isinstance(content[key], dict):
        raise PromptFileError(f"{source}: dataset '{key}' is {shown(content[key])}. {_WANTED}")
    entry = {k: _first(v, k, f"{source}, {key}") for k, v in content[key].items()}
    chosen = parse_prompts_dict(entry, f"{source}, {key}")
    note = f"prompts of dataset '{key}' from {source}, the first sentence of each class"
    return Prompts(chosen.sentences, chosen.instance, key, (note, *chosen.notes))


def parse_prompts_json(text: str, source: str) -> Any:
    """Parse JSON; raises PromptFileError with line and column, PromptIdError when a key comes twice."""

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:
                raise PromptIdError(f"{source}: the key {shown(key)} comes twice in one object. Keep one.")
            found[key] = value
        return found

    try:
        return json.loads(text, object_pairs_hook=without_repeats)
    except json.JSONDecodeError as error:
        raise PromptFileError(
            f"{source}: broken JSON at line {error.lineno}, column {error.colno}: {error.msg}. Correct it "
            "there."
        ) from error
    except (PromptIdError, PromptFileError):
        raise
    except (
        ValueError,
        RecursionError,
    ) as error:  # an integer of thousands of digits, or brackets nested too deep
        raise PromptFileError(f"{source}: the JSON cannot be read ({error}). {_WANTED}") from error


def _read_json(path: Path) -> Any:
    try:
        size = path.stat().st_size
        if not path.is_file() or size > MAX_FILE_BYTES:
            raise PromptFileError(
                f"{path}: a JSON file of at most {MAX_FILE_BYTES} bytes is wanted, this has {size}."
            )
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise PromptFileError(
            f"{path} cannot be read: {error.strerror}. Check path and permissions."
        ) from error
    except UnicodeDecodeError as error:
        raise PromptFileError(f"{path}: byte {error.start} is not UTF-8. Save the file as UTF-8.") from error
    return parse_prompts_json(text, path.name)


def _choose_dataset(content: dict[str, Any], case_name: str, dataset: str | None, source: str) -> str:
    if dataset is not None:
        if dataset in content:
            return dataset
        problem = f"no dataset '{dataset}'"
    else:
        matching = [key for key in content if key and case_name.startswith(key)]
        if matching:
            return max(matching, key=len)
        problem = f"no dataset whose key the case name '{case_name}' starts with"
    near = ", ".join(f"'{key}'" for key in _nearest(dataset or case_name, content)) or "none"
    raise PromptFileError(
        f"{source}: {problem}; the nearest keys are {near}. Name the dataset or rename the case."
    )


def _nearest(word: str, keys: Iterable[str], count: int = 3) -> list[str]:
    from difflib import SequenceMatcher  # needed for this message only

    def likeness(key: str) -> float:
        # A case's name is longer than its dataset's key, so the key is compared with as much of the name.
        return SequenceMatcher(None, key.lower(), word[: len(key)].lower()).ratio()

    return sorted((key for key in keys if key), key=likeness, reverse=True)[:count]


def _first(value: Any, key: str, source: str) -> Any:
    if key == INSTANCE_KEY or not isinstance(value, list):
        return value
    if not value:
        raise PromptTextError(f"{source}: class {shown(key)} has an empty list of sentences. Give it one.")
    return value[0]


def _parse_id(key: Any, source: str) -> int:
    text = str(key).strip() if isinstance(key, str) or type(key) is int and abs(key) < 10**18 else ""
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise PromptIdError(
            f"{source}: prompt id {shown(key)} is not a whole number from 1 to {MAX_ID}. "
            f"Number the prompts '1', '2', ...; the only other key is '{INSTANCE_KEY}'."
        )
    if not 1 <= int(text) <= MAX_ID:
        raise PromptIdError(
            f"{source}: prompt id {shown(key)} lies outside 1 to {MAX_ID}. Number from '1' on."
        )
    return int(text)


def _parse_sentence(sentence: Any, key: Any, source: str) -> str:
    if not isinstance(sentence, str):
        raise PromptTextError(
            f"{source}: the sentence of prompt {shown(key)} is {shown(sentence)}, "
            f"a {type(sentence).__name__}; text is wanted. Say what to segment."
        )
    if not sentence.strip():
        raise PromptTextError(f"{source}: the sentence of prompt {shown(key)} is blank. Say what to segment.")
    # JSON can spell half characters ('\\ud800') that nothing further down can encode.
    return sentence.strip().encode("utf-8", "replace").decode("utf-8")


def _parse_instance(content: dict[Any, Any], source: str) -> tuple[bool, tuple[str, ...]]:
    if INSTANCE_KEY not in content:
        return False, (f"{source} gives no {INSTANCE_KEY}: taken as 0, one label per prompt",)
    value = content[INSTANCE_KEY]
    if not isinstance(value, int | float) or value not in (0, 1):
        raise InstanceLabelError(
            f"{source}: {INSTANCE_KEY} is {shown(value)}; 0 (one label per prompt) or 1 (one label per "
            "object) is wanted. Correct it."
        )
    return value == 1, ()


def _listed(content: dict[Any, Any]) -> str:
    return f"the keys {', '.join(shown(key, 30) for key in content)}" if content else "no keys at all"
