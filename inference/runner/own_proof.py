"""The JSON file beside a label map as proof: that a run of ours wrote it, of what, and whether it is whole.

It is there, as unfinished, before anything else is replaced, and is written whole last: whenever a run ends,
the next one knows which files are ours.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from vesal.inference.data.errors import UsageError
from vesal.inference.io.formats import case_name

DICOM_SUFFIX = ".dcm"
PROBABILITY = "_probability"
"""Between a mask's name and the suffix of its probabilities."""


def side_outputs(output: Path) -> tuple[Path, ...]:
    """Files of names and colours beside a label map: `.json`, `.ctbl`, `.label`."""
    name = output_name(output)
    return tuple(output.with_name(name + suffix) for suffix in (".json", ".ctbl", ".label"))


def output_name(output: Path) -> str:
    """Name of a label map without its suffix."""
    return output.stem if output.suffix.lower() == DICOM_SUFFIX else case_name(output)


def mask_folder(output: Path) -> Path:
    """Folder of the masks of a label map: `NAME_seg/`."""
    return output.with_name(output_name(output))


def proof_of(output: Path) -> dict[str, Any] | None:
    """What the JSON file beside a label map tells; None where none of ours is there. Never raises."""
    try:
        content = json.loads(side_outputs(output)[0].read_text(encoding="utf-8"))
        ours = content["label_map"] == output.name and "sha256" in content
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return content if ours else None


def masks_of(proof: dict[str, Any] | None) -> set[str]:
    """Names, without suffix, of all masks and probabilities that runs wrote for a label map."""
    content = proof or {}
    try:
        if "masks" in content:
            return {str(name) for name in content["masks"]}
        # As it was written before masks were listed.
        names = [str(prompt["file"]) for prompt in content.get("prompts", ())]
    except (KeyError, TypeError):
        return set()
    return {*names, *(f"{name}{PROBABILITY}" for name in names)}


def is_foreign(output: Path) -> bool:
    """Whether files stand in the place of a label map or beside it that no run of ours has written."""
    there = any(os.path.lexists(path) for path in (output, *side_outputs(output)))
    return there and proof_of(output) is None


def check_foreign(output: Path) -> None:
    """Raise UsageError where a file would be replaced that no run of ours has written."""
    if not is_foreign(output):
        return
    there = next(path for path in (output, *side_outputs(output)) if os.path.lexists(path))
    raise UsageError(
        f"{there} is there and was not written by vesal; give another folder by -o, or remove it."
    )


def check_foreign_masks(output: Path, ids: Collection[int] | None) -> None:
    """Raise UsageError where a mask would be replaced that no run of ours has written.

    ``ids`` are those of the prompts, whose masks begin with them; None: not known yet.
    """
    folder = mask_folder(output)
    if not os.path.lexists(folder):
        return
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file where the folder of masks should go; remove or rename it.")
    ours = masks_of(proof_of(output))
    for path in sorted(folder.iterdir()):
        number = path.name.split("_", 1)[0]
        taken = number.isdecimal() and (ids is None or int(number) in ids)
        if taken and path.name.split(".", 1)[0] not in ours:
            raise UsageError(
                f"{path} is there and was not written by vesal, and a mask may get its name; give another "
                "folder by -o, or remove it."
            )
