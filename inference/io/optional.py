"""Packages that a format needs and that are not part of every installation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vesal.inference.data.errors import MissingPackageError

ADVICE = (
    'Install the extra of formats, pip install ".[formats]", or build the image with the argument '
    "FORMATS=all; or convert the file to NIfTI."
)


@contextmanager
def needed(source: str) -> Iterator[None]:
    """Around imports for the case in ``source``. Raises MissingPackageError where one is not installed."""
    try:
        yield
    except ImportError as error:
        what = f"{source}: a package that reads it is not installed ({error})"
        raise MissingPackageError(f"{what}. {ADVICE}") from error
