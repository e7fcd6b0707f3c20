"""The largest input that is worked on, and why: each limit is looked at before any work that grows with it.

What is above raises an error of its own, and the case keeps its zeros.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from vesal.inference.data.errors import (
    MaskSizeError,
    PromptFileError,
    SentenceLengthError,
    TooManyPromptsError,
    VolumeSizeError,
)
from vesal.inference.runtime.machine import MB, memory_limit

MAX_VOLUME_BYTES = 8 * 1024**3
"""Of a volume as it is stored. The challenge gives a container 32 GB, which leaves room to work."""
MAX_VOXELS = MAX_VOLUME_BYTES
"""A larger volume is not believed, and gets no zeros either."""
BYTES_PER_VOXEL = 4
"""What a case takes beside `BASE_BYTES`: 2.2 to 3.4 were measured (`benchmarks.memory`) where targets are
small against the volume; 18 where one fills all of it."""
BYTES_WHILE_READ = 2
"""The same beside the stored numbers, while they become uint8: once, and once more for another window."""
BASE_BYTES = 600 * MB
"""Interpreter, runtime and network on one window."""

MAX_PROMPTS = 2000
"""Of a case, and keys of any dict of prompts or datasets. SAT, with most targets, lists 497; the challenge's
file has 68 datasets of up to 47 keys."""
MAX_SENTENCE = 4000
"""Characters. The longest sentence of the challenge has 106, and the text encoder reads 256 word pieces; so
many words, long ones too, are cut there and told, and run. Normalising so many marks takes 20 ms."""
MAX_FILE_BYTES = 4 * MB
"""Of a JSON file of prompts: the challenge's own has 0.2 MB. 60 MB of one sentence take 7.6 GB."""
MAX_PROMPT_BYTES = MB
"""Of `text_prompts`, boxes or points in an npz: the challenge's have a few kilobytes."""
MAX_NOTATION = 64 * 1024
"""Of a dict that was saved by its Python notation; the parser of Python is not asked for more."""
MAX_SPACING_BYTES, MAX_LENGTHS = 64 * 1024, 16
"""Of a spacing in any notation, and the numbers that it may have."""
MAX_DEPTH = 12
"""Dicts and lists within one another; the deepest layout that is known has 4."""
MAX_ITEMS = 100_000
"""Of all dicts and lists together: the challenge's file has 3,648."""
MAX_OPCODES = 200_000
"""Of a pickle: a prompt takes 6, a box 30. So many take a second."""
MAX_SEARCHED, MAX_CANDIDATES = 1024 * MB, 100_000
"""Bytes of a broken file, and beginnings of members in it, among which its volume's shape is looked for: half
a second. What numpy saves first is found at once."""
MAX_DIRECTORY_BYTES = MB
"""Of an archive's table of members, of which numpy's take 60 each."""


def check_volume(name: str, shape: Sequence[int], dtype: np.dtype, memory: int | None = None) -> None:
    """Raise VolumeSizeError where a volume is larger than what the container's memory can hold.

    Args:
        name: of the file.
        shape: (D,H,W).
        dtype: of the stored numbers.
        memory: bytes; None: what this process may use.
    """
    voxels = math.prod(shape)
    stored = voxels * dtype.itemsize
    while_read = stored + (0 if dtype == np.uint8 else BYTES_WHILE_READ * voxels)
    wanted = BASE_BYTES + max(BYTES_PER_VOXEL * voxels, while_read)
    memory = memory_limit() if memory is None else memory
    if stored > MAX_VOLUME_BYTES or (memory is not None and wanted > memory):
        there = "" if memory is None else f", and there are {memory / 1e9:.1f}"
        raise VolumeSizeError(
            f"{name}: 'imgs' of shape {tuple(shape)}, {dtype}, has {stored} bytes and would take about "
            f"{wanted / 1e9:.1f} GB{there}; at most {MAX_VOLUME_BYTES} bytes are read. Crop or resample it, "
            "save it as uint8, or give the container more memory."
        )


def check_sentence(text: str, source: str) -> None:
    """Raise SentenceLengthError for a sentence that is too long to be one."""
    if len(text) > MAX_SENTENCE:
        raise SentenceLengthError(
            f"{source}: a sentence of {len(text)} characters; at most {MAX_SENTENCE} are read. Say in a few "
            "words what to segment."
        )


def check_content(content: Any, source: str) -> None:
    """Raise where lists and dicts of prompts, however made, are too many or too deep.

    Raises:
        TooManyPromptsError: a dict or list has more than `MAX_PROMPTS` items.
        PromptFileError: they are nested deeper than `MAX_DEPTH`, or have more than `MAX_ITEMS` items in all.
    """
    level, items, seen = [content], 0, set[int]()
    for _ in range(MAX_DEPTH + 1):
        following: list[Any] = []
        for value in level:
            if not isinstance(value, (dict, list, tuple)) or id(value) in seen:
                continue
            seen.add(id(value))
            items += len(value)
            _check_counts(len(value), items, source)
            following.extend(value.values() if isinstance(value, dict) else value)
        if not following:
            return
        level = following
    raise PromptFileError(
        f"{source}: nested deeper than {MAX_DEPTH} levels. A dict of id -> sentence is wanted."
    )


def _check_counts(one: int, all_items: int, source: str) -> None:
    if one > MAX_PROMPTS:
        raise TooManyPromptsError(
            f"{source}: {one} prompts or keys; at most {MAX_PROMPTS} are read. Split them over several cases."
        )
    if all_items > MAX_ITEMS:
        raise PromptFileError(f"{source}: more than {MAX_ITEMS} values in all. Split the file.")


def check_mask_size(source: str, stored: int, voxels: int, memory: int | None = None) -> None:
    """Raise MaskSizeError where a mask of so many bytes does not fit beside a volume of so many voxels."""
    wanted = BASE_BYTES + stored + BYTES_PER_VOXEL * voxels
    memory = memory_limit() if memory is None else memory
    if memory is not None and wanted > memory:
        raise MaskSizeError(
            f"{source} has {stored} bytes and would take about {wanted / 1e9:.1f} GB with its volume; there "
            f"are {memory / 1e9:.1f}. Save it as uint8, or give the container more memory."
        )
