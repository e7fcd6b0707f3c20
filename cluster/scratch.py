"""The folder of a worker for scans that are brought here; what workers left that were killed is swept."""

from __future__ import annotations

import fcntl
import logging
import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO

log = logging.getLogger("vesal")

PREFIX = "vesal-batch-"
LOCK = "lock"


class Scratch:
    """A folder that is this process's as long as it lives; the system then lets go of its lock.

    It is made for the first case that needs it: what lies here runs on a machine that is read-only.
    """

    def __init__(self, parent: Path | None = None) -> None:
        """Below ``parent``, by default the system's folder of temporary files."""
        self._parent = parent
        self._lock: IO[bytes] | None = None
        self._path: Path | None = None

    @property
    def path(self) -> Path:
        """The folder; made when it is first asked for."""
        if self._path is None:
            self._path = self._made()
        return self._path

    def new_folder(self) -> Path:
        """An empty folder for one case; the caller removes it."""
        folder = self.path / secrets.token_hex(8)
        folder.mkdir()
        return folder

    def close(self) -> None:
        """Remove it."""
        if self._path is not None and self._lock is not None:
            shutil.rmtree(self._path, ignore_errors=True)
            self._lock.close()

    def _made(self) -> Path:
        parent = self._parent or Path(tempfile.gettempdir())
        parent.mkdir(parents=True, exist_ok=True)
        sweep(parent)
        name = f"{PREFIX}{secrets.token_hex(8)}"
        # Hidden until it is locked: workers that start together sweep each other's folders.
        hidden = parent / f".{name}"
        hidden.mkdir(mode=0o700)
        self._lock = (hidden / LOCK).open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        return hidden.rename(parent / name)


def sweep(parent: Path) -> None:
    """Remove the folders whose process is gone. Never raises."""
    with suppress(OSError):
        for folder in parent.glob(f"{PREFIX}*"):
            with suppress(OSError), (folder / LOCK).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
                log.debug("%s, left by a worker that was killed, is removed", folder)
