"""Prompts as they come: a dict in the npz, a JSON file, or the challenge's file keyed by dataset.

All three end in the same `Prompts`. A JSON file replaces the prompts of the case as a whole, `instance_label`
too.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vesal.inference.data.errors import (
    InstanceLabelError,
    NoPromptsError,
    PromptError,
    PromptFileError,
    PromptIdError,
    UnreadableFileError,
    shown,
)
from vesal.inference.data.notes import Caution
from vesal.inference.io.files import open_regular_file
from vesal.inference.io.limits import MAX_FILE_BYTES, check_content
from vesal.inference.io.prompt_text import WANTED, parse_prompts_json
from vesal.inference.io.prompt_values import (
    INSTANCE_KEY,
    MODALITY_KEY,
    is_key,
    parse_id,
    parse_instance,
    parse_sentence,
)

WRAPPERS = ("text_prompts", "prompts")
"""Keys under which alone all prompts may stand."""
MAX_TOLD = 20
"""Prompts that are left out and named one by one."""

NAMES_TRIED = 200
"""A message about a name looks for the nearest datasets, which takes milliseconds."""


@dataclass(frozen=True)
class Prompts:
    """Checked prompts: sentences by id in the order given, the kind of labels, notes for the report."""

    sentences: dict[int, str]
    instance: bool
    dataset: str | None = None
    notes: tuple[str, ...] = ()
    modality: str | None = None
    """What the key `modality` says, in the user's word."""
    interactive: bool = False
    """Whether the case is one of the challenge's interactive track."""


PromptSource = Path | Prompts
"""A file of prompts, or the prompts themselves: what is given on purpose beside a case."""


def parse_prompts_dict(content: Any, source: str, strict: bool = False) -> Prompts:
    """Check a flat dict `{id: sentence, ..., 'instance_label': 0 or 1}`; `source` names it in messages.

    Ids and sentences are those of `prompt_values`. What cannot be used is left out with a note, so that it
    does not cost the other prompts; a missing `instance_label` means 0 and leaves one, too. The key
    `modality` may name one.

    Args:
        content: of any type.
        source: for messages.
        strict: whether the first thing that cannot be used is an error.

    Raises:
        PromptFileError: it is no dict.
        PromptError: no prompt is left, for the first reason, or is `strict`.
    """
    if not isinstance(content, dict):
        raise PromptFileError(f"{source}: the prompts are a {type(content).__name__}. {WANTED}")
    check_content(content, source)
    sentences, problems = _parse_all(content, source)
    if not sentences and not problems:
        raise NoPromptsError(f"{source}: there is no prompt among {_listed(content)}. {WANTED}")
    if problems and (strict or not sentences):
        raise problems[0]
    instance, notes = _parse_instance(content, source, strict)
    values = [value for key, value in content.items() if not is_key(key, INSTANCE_KEY)]
    if any(isinstance(value, (list, tuple)) and value for value in values):
        notes = (f"{source} gives lists of sentences: the first sentence of each counts", *notes)
    return Prompts(sentences, instance, None, (*_told(problems), *notes), _modality(content))


def parse_prompts(
    content: Any, source: str, name: str, dataset: str | None = None, *, by_name: bool = False
) -> Prompts:
    """Prompts of the case `name` in any layout.

    The layouts are the flat dict of `parse_prompts_dict`; the challenge's, keyed by dataset (see
    `read_prompts_file`); either of them under `text_prompts` or `prompts`; a list of sentences, numbered from
    1 on; pairs of id and sentence; and names with their ids, `{'liver': 1}`, as label files have them.

    Args:
        content: of any type.
        source: for messages.
        name: of the case.
        dataset: the key that counts; None: the longest one that the case's name starts with.
        by_name: `content` was found by its file's name beside prompts, and may be another tool's: then lists,
            and names with numbers, are no prompts.

    Raises:
        PromptError: these are no prompts, or none of them can be used.
    """
    check_content(content, source)
    content = _unwrapped(content)
    content = content if by_name else _paired(content)
    if not by_name and isinstance(content, (list, tuple)) and any(isinstance(v, str) for v in content):
        numbered = parse_prompts_dict(dict(enumerate(content, 1)), source)
        note = f"{source} is a list of sentences: their ids are their places, from 1 on"
        return _not_keyed(replace(numbered, notes=(note, *numbered.notes)), source, dataset)
    if not isinstance(content, dict) or not _is_keyed(content):
        turned = None if by_name else _turned(content)
        flat = parse_prompts_dict(content if turned is None else turned, source)
        if turned is not None:
            told = f"{source} gives names with their ids: read as id and name"
            flat = replace(flat, notes=(told, *flat.notes))
        return _not_keyed(flat, source, dataset)
    # Of a single entry that was given on purpose nothing else can be meant.
    datasets = _named(content)
    alone = next(iter(datasets)) if len(content) == 1 and not by_name and dataset is None else dataset
    key = _choose_dataset(datasets, name, alone, source)
    if not isinstance(datasets[key], dict):
        raise PromptFileError(f"{source}: dataset '{key}' is {shown(datasets[key])}. {WANTED}")
    chosen = parse_prompts_dict(datasets[key], f"{source}, {key}")
    note = f"prompts of dataset '{key}' from {source}"
    return replace(chosen, dataset=key, notes=(note, *chosen.notes))


def _not_keyed(prompts: Prompts, source: str, dataset: str | None) -> Prompts:
    """Prompts that stand alone; a dataset that was named picks none of them, which is told."""
    if dataset is None:
        return prompts
    told = f"{source} is not keyed by dataset: '{dataset}' picks none of its prompts, all of them are run"
    return replace(prompts, dataset=dataset, notes=(told, *prompts.notes))


def _parse_all(content: dict[Any, Any], source: str) -> tuple[dict[int, str], list[PromptError]]:
    """Sentences by id, and why others are left out. An id that two sentences claim is left out."""
    spelled: dict[int, Any] = {}
    sentences: dict[int, str] = {}
    problems: list[PromptError] = []
    for key, value in content.items():
        if is_key(key, INSTANCE_KEY) or is_key(key, MODALITY_KEY):
            continue
        try:
            number = parse_id(key, source)
            sentence = parse_sentence(value, key, source)
        except PromptError as error:
            problems.append(error)
            continue
        if number in spelled and sentences.get(number) != sentence:
            problems.append(
                PromptIdError(
                    f"{source}: {shown(spelled[number])} and {shown(key)} are two spellings of prompt id "
                    f"{number}. Keep one."
                )
            )
            sentences.pop(number, None)
        elif number not in spelled:
            spelled[number], sentences[number] = key, sentence
    return sentences, problems


def _told(problems: list[PromptError]) -> tuple[str, ...]:
    """Notes on prompts that are left out."""
    notes = tuple(Caution(f"a prompt is left out: {type(e).__name__}: {e}") for e in problems[:MAX_TOLD])
    more = len(problems) - MAX_TOLD
    return (*notes, f"{more} more prompts are left out") if more > 0 else notes


def _modality(content: dict[Any, Any]) -> str | None:
    """The text under the key `modality`."""
    named = (value for key, value in content.items() if is_key(key, MODALITY_KEY))
    return next((value.strip() for value in named if isinstance(value, str) and value.strip()), None)


def _unwrapped(content: Any) -> Any:
    """What stands alone in a list, or alone under one of `WRAPPERS`."""
    for _ in range(3):
        if isinstance(content, (list, tuple)) and len(content) == 1 and isinstance(content[0], dict):
            content = content[0]
        elif isinstance(content, dict) and len(content) == 1 and next(iter(content)) in WRAPPERS:
            (content,) = content.values()
    return content


def _paired(content: Any) -> Any:
    """A list of pairs of id and sentence as a dict, where no id comes twice; all else as it is."""
    if not isinstance(content, (list, tuple)) or not content:
        return content
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in content):
        return content
    keys = [key for key, _ in content]
    known = all(_is_id(key) or is_key(key, INSTANCE_KEY) or is_key(key, MODALITY_KEY) for key in keys)
    return dict(content) if known and len(set(keys)) == len(keys) else content


def _is_keyed(content: dict[Any, Any]) -> bool:
    """Whether a dict holds dicts by names that are no ids. A pickled dict may have keys of any type."""
    return any(isinstance(value, dict) and not _is_id(key) for key, value in _named(content).items())


def _named(content: dict[Any, Any]) -> dict[str, Any]:
    """The part of a dict whose keys are text, and so may be names of datasets."""
    return {key: value for key, value in content.items() if isinstance(key, str)}


def _is_id(key: Any) -> bool:
    try:
        return bool(parse_id(key, ""))
    except PromptIdError:
        return False


def _is_number(value: Any) -> bool:
    """Whether an id, or that of background, stands as a whole number or its digits."""
    return type(value) is int or (isinstance(value, str) and re.fullmatch("[0-9]{1,5}", value) is not None)


def _turned(content: Any) -> dict[Any, Any] | None:
    """A dict of name -> id as id -> name; None where it is none."""
    if not isinstance(content, dict):
        return None
    settings = {k: v for k, v in content.items() if is_key(k, INSTANCE_KEY) or is_key(k, MODALITY_KEY)}
    names = {k: v for k, v in content.items() if k not in settings}
    plain = all(isinstance(k, str) and _is_number(v) for k, v in names.items())
    names = {k: int(v) for k, v in names.items()} if plain else names
    ids = set(names.values()) if plain else set()
    if not names or len(ids) < len(names) or any(_is_id(key) for key in names):
        return None
    return {**{id_: name for name, id_ in names.items()}, **settings}


def find_prompts_file(
    case: Path, name: str, prompts_file: PromptSource | None, dataset: str | None, *, has_prompts: bool = True
) -> Prompts | None:
    """Prompts of case `name` that replace those in it: of `prompts_file`, else of NAME.json beside `case`.

    A file beside a case that has prompts of its own (`has_prompts`) may be another tool's: it replaces them
    only where it cannot be anything but prompts. Without them, nothing else can be meant, and every layout is
    read. None where there is neither. Raises what `read_prompts_file` raises.
    """
    if isinstance(prompts_file, Prompts):
        return prompts_file
    if prompts_file is not None:
        return read_prompts_file(Path(prompts_file), name, dataset)
    beside = prompts_file_beside(case, name)
    if not os.path.lexists(beside):
        return None
    content = read_json(beside)
    try:
        return parse_prompts(content, beside.name, name, dataset, by_name=has_prompts)
    except PromptError as error:
        if has_prompts and _is_meant(content, beside.name, name, dataset):
            raise PromptFileError(
                f"{beside.name}: its layout may be another tool's, and the case has prompts of its own. Hand "
                f"it over as the file of prompts, or make it a dict. {WANTED}"
            ) from error
        raise


def settings_alone(content: Any, source: str) -> Prompts | None:
    """What a dict says of a case's prompts that holds `instance_label` and `modality` alone, or sentences
    that say nothing; None where it holds anything else.
    """
    settings: dict[Any, Any] = {}
    others = content
    if isinstance(content, dict):
        settings = {k: v for k, v in content.items() if is_key(k, INSTANCE_KEY) or is_key(k, MODALITY_KEY)}
        others = [value for key, value in content.items() if key not in settings]
    rest = others if isinstance(others, (list, tuple)) else [others]
    if any(not (value in (None, [], {}, ()) or str(value).strip() == "") for value in rest):
        return None
    given = {key: value for key, value in settings.items() if is_key(key, INSTANCE_KEY)}
    instance, notes = _parse_instance(given, source, strict=False) if given else (False, ())
    return Prompts({}, instance, None, notes, _modality(settings))


def settings_beside(case: Path, name: str) -> Prompts | None:
    """The same of NAME.json beside a case; None where there is none, or it cannot be read."""
    beside = prompts_file_beside(case, name)
    try:
        return settings_alone(read_json(beside), beside.name) if os.path.lexists(beside) else None
    except PromptError:
        return None


def _is_meant(content: Any, source: str, name: str, dataset: str | None) -> bool:
    """Whether a file would be prompts if it were handed over as such."""
    try:
        return bool(parse_prompts(content, source, name, dataset).sentences)
    except PromptError:
        return False


def prompts_file_beside(case: Path, name: str) -> Path:
    """Where the prompts of case `name` lie beside it, if anywhere: NAME.json."""
    return case.with_name(f"{name}.json")


def read_prompts_file(
    path: Path, case_name: str, dataset: str | None = None, *, by_name: bool = False
) -> Prompts:
    """Read a JSON file of prompts for the case `case_name`, in any layout of `parse_prompts`.

    Of the challenge's file, which maps dataset -> {id: [sentences], ..., 'instance_label'}, the entry
    `dataset` is taken, or else the longest key that the case's name starts with, and of each class the first
    sentence (the bare name in the challenge's file). All classes of the entry are prompted. Raises what
    `parse_prompts` raises, and PromptFileError where the file cannot be read.
    """
    return parse_prompts(read_json(path), path.name, case_name, dataset, by_name=by_name)


def check_prompts_file(path: Path, dataset: str | None, names: Sequence[str]) -> None:
    """Raise a PromptError where a file of prompts serves none of the cases of these names.

    It cannot be read, is not JSON, holds no prompts, or nothing for the dataset or for any name (of many
    cases the first `NAMES_TRIED` are tried).
    """
    content, first = read_json(path), None
    for name in names[:NAMES_TRIED]:
        try:
            parse_prompts(content, path.name, name, dataset)
            return
        except PromptError as error:
            first = first or error
    if first is not None and len(names) <= NAMES_TRIED:
        raise first


def read_json(path: Path) -> Any:
    try:
        with open_regular_file(path) as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (UnreadableFileError, OSError) as error:
        raise PromptFileError(f"{error} A JSON file with prompts is wanted.") from error
    if len(data) > MAX_FILE_BYTES:
        raise PromptFileError(
            f"{path} is too large: a JSON file of at most {MAX_FILE_BYTES} bytes is wanted."
        )
    try:
        text = data.decode("utf-8-sig")
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


def _parse_instance(content: dict[Any, Any], source: str, strict: bool) -> tuple[bool, tuple[str, ...]]:
    """Whether objects are wanted, and notes; what cannot be read is 0 unless `strict`."""
    values = [value for key, value in content.items() if is_key(key, INSTANCE_KEY)]
    notes: tuple[str, ...] = ()
    try:
        flag, notes = parse_instance(values[0], source) if values else (None, ())
    except InstanceLabelError as error:
        if strict:
            raise
        return False, (f"{error} Taken as 0",)
    if flag is None:
        return False, (f"{source} gives no {INSTANCE_KEY}: taken as 0, one label per prompt",)
    return flag, notes


def _listed(content: dict[Any, Any]) -> str:
    return f"the keys {', '.join(shown(key, 30) for key in content)}" if content else "no keys at all"
