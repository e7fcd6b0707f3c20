"""Pointers of Git LFS, which lie where a large file was not fetched."""

from __future__ import annotations

import re
from pathlib import Path

MARK = b"version https://git-lfs.github.com/spec/"
MAX_BYTES = 1024
"""A pointer is never longer (Git LFS's specification)."""


def pointer_told(path: Path) -> str | None:
    """What to say of a file that is a pointer of Git LFS, or of one in plain text; None for any other.

    A file that cannot be read is none.
    """
    try:
        with path.open("rb") as file:
            head = file.read(MAX_BYTES)
    except OSError:
        return None
    if not head.startswith(MARK):
        return None
    size = re.search(rb"^size (\d+)$", head, re.MULTILINE)
    told = f", which has {int(size[1]):,} bytes" if size else ""
    return (
        f"{path} is a pointer of Git LFS ({path.stat().st_size} bytes of text), not the file itself{told}. "
        "Fetch it with `git lfs pull`, or download it from the page of its repository."
    )
