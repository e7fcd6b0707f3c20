"""Names of a checkpoint's tensors."""

from __future__ import annotations

from collections.abc import Mapping


def count_names(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
    """How many names of ``pattern`` there are, counted from 0 without a gap."""
    count = 0
    while pattern.format(count) in shapes:
        count += 1
    return count
