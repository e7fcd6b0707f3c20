"""Systems that are published as a folder of several files: each has a conversion of its own."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from vesal.inference.planning.manifest import Provenance
from vesal.weights.convert.folder import Options
from vesal.weights.convert.system import PublishedFile


@dataclass(frozen=True)
class FolderSystem:
    """One published system."""

    name: str
    """As the command and the folder in ``weights/`` call it."""
    title: str
    given: tuple[PublishedFile, ...]
    """All that the command must be given."""
    add_options: Callable[[argparse.ArgumentParser], None]
    """Adds what it may be given besides, and other systems not."""
    convert: Callable[[argparse.Namespace, Options], list[str]]
    """(what the command was given, options of all systems) -> what to tell when the folder is written.

    Raises VesalError where a file is not what is wanted, and OSError where the folder cannot be written.
    """
    provenance: Provenance
