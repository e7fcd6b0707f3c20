"""The progress callback, called after every window."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class WindowProgress:
    """How far a case is."""

    stage: str
    """`coarse`, `orientation` or `fine`"""
    windows: int
    """of this stage that were run"""
    planned: int
    """windows of this stage in all, as far as is known: it may fall as windows are skipped"""
    seconds: float
    """since the case began"""


ProgressCallback = Callable[[WindowProgress], bool | None]
"""Returns False to cancel the case."""
