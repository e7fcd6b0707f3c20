"""What the result of an own scan depends on, to be compared by the next run (`--skip-existing`)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vesal import __version__
from vesal.inference.io.dicom_files import UNREADABLE, sources
from vesal.inference.io.digests import hashed
from vesal.inference.io.files import open_regular_file
from vesal.inference.io.formats import case_name, format_of, side_files
from vesal.inference.planning.weights_folder import weights_folder
from vesal.inference.runner.case_paths import CasePaths
from vesal.inference.runner.own_proof import proof_of, side_outputs
from vesal.inference.runner.settings import Settings

MANIFEST = "manifest.json"
WITH_DATA_BESIDE = (".mhd", ".nhdr", ".hdr", ".img")
"""Suffixes of scans of which a part lies in further files of their name."""
WHOLE_BYTES, BLOCKS, BLOCK_BYTES = 1 << 28, 64, 1 << 16
"""Of a scan so much is hashed whole, in a fifth of a second; of each further file its first block, which in
DICOM holds its UIDs, and of a larger file so many blocks."""


def inputs_of(pair: CasePaths, settings: Settings) -> dict[str, Any]:
    """All that a result depends on, as plain values of JSON: two that are equal give the same result.

    Of scan, prompts and the weights' manifest the content counts, not its time.
    """
    asked = pair.asked
    beside = [*side_files(pair.input), *_prompts_file(settings)]
    told = {
        "version": __version__,
        "weights": {"name": Path(settings.weights).name, "manifest": _digest(_manifest(settings))},
        "scan": _content(pair.input, pair.output),
        "beside": {path.name: _digest(path) for path in beside},
        "prompts": asked and {"sentences": asked.sentences, "instances": asked.instance},
        "modality": pair.modality,
        "chosen": asdict(settings.reading),
        "marks": {str(key): repr(mark) for key, mark in settings.marks.by_key.items()},
        "hybrid": settings.hybrid,
        "text_embeddings": settings.text_embeddings and _digest(settings.text_embeddings),
    }
    plain: dict[str, Any] = json.loads(json.dumps(told))
    return plain


def _prompts_file(settings: Settings) -> tuple[Path, ...]:
    return () if settings.prompts is None or settings.has_table else (settings.prompts,)


def _manifest(settings: Settings) -> Path:
    return weights_folder(settings.weights) / MANIFEST


def _digest(path: Path) -> str | None:
    try:
        return hashed(path)
    except UNREADABLE:
        return None


def _content(scan: Path, output: Path) -> str | None:
    """Digest of the files of a scan, by name; None where they cannot be had."""
    content, left = hashlib.sha256(), WHOLE_BYTES
    try:
        for path in _files(scan, output):
            size = path.stat().st_size
            content.update(f"{path.relative_to(scan.parent)} {size} ".encode("utf-8", "replace"))
            content.update(bytes.fromhex(hashed(path)) if size <= left else _sampled(path, size))
            left -= min(left, size)
    except UNREADABLE:
        return None
    return content.hexdigest()


def _sampled(path: Path, size: int) -> bytes:
    """Digest of the first block of a file, and of further ones all over it where it is large by itself."""
    count = BLOCKS if size > WHOLE_BYTES else 1
    blocks = hashlib.sha256()
    with open_regular_file(path) as file:
        for number in range(count):
            file.seek(number * (size - BLOCK_BYTES) // max(1, count - 1))
            blocks.update(file.read(BLOCK_BYTES))
    return blocks.digest()


def _files(scan: Path, output: Path) -> Iterator[Path]:
    """Files that a scan is made of; results of ours in the same folder are none."""
    if scan.is_dir() and format_of(scan).claims is not None:
        found = (source for source in sources(scan) if source.is_dicom())
        yield from (each.file for each in found if each.file != output and proof_of(each.file) is None)
    elif scan.is_dir():
        for place, folders, names in os.walk(scan):
            folders.sort()
            yield from (Path(place, name) for name in sorted(names))
    elif scan.suffix.lower() in WITH_DATA_BESIDE:
        start = f"{case_name(scan)}."
        named = (path for path in sorted(scan.parent.iterdir()) if path.name.startswith(start))
        ours = {output, *side_outputs(output), scan.with_name(f"{start}json")}
        yield from (path for path in named if path not in ours and path.is_file())
    else:
        yield scan
