"""Files that appear whole or not at all: written under another name in the same folder, then renamed."""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

log = logging.getLogger("vesal")

_NAME = re.compile(r"\.vesal-[0-9a-f]{16}\.tmp")
_NOT_SUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """An empty file for reading and writing that takes the place of `path` at the end of the `with`.

    It is synchronised with the disk first, and has the permissions that the umask asks for. The folder is
    made where it is not there, also where it vanished meanwhile. At an error, raised inside or of the system
    (OSError), nothing is left and `path` stays as it was.
    """
    # A fixed short name: the file's own may be as long as the file system allows.
    temporary = path.parent / f".vesal-{secrets.token_hex(8)}.tmp"
    try:
        with os.fdopen(_created(temporary), "w+b") as file:
            _lock(file)
            yield file
            file.flush()
            _synchronise(file)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def sweep(folder: Path) -> None:
    """Remove what runs that were killed left in a folder; files that a process still writes stay."""
    with suppress(OSError):
        for entry in os.scandir(folder):
            if _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                _remove_unless_locked(Path(entry.path))


def check_writable(folder: Path) -> None:
    """Raise OSError where no file can be made in a folder; its permissions alone do not tell."""
    temporary = folder / f".vesal-{secrets.token_hex(8)}.tmp"
    os.close(_created(temporary))
    temporary.unlink(missing_ok=True)


def _created(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    try:
        return os.open(path, flags, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, flags, 0o666)


def _lock(file: IO[bytes]) -> None:
    """Say to `sweep` that the file is being written; the system lets go when the process ends, however it
    does.
    """
    with suppress(OSError, ImportError):
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove_unless_locked(path: Path) -> None:
    with suppress(OSError, ImportError):
        import fcntl

        with path.open("rb") as file:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink(missing_ok=True)
            log.debug("%s, left by a run that was killed, is removed", path)


def _synchronise(file: IO[bytes]) -> None:
    try:
        os.fsync(file.fileno())
    except OSError as error:  # some mounted folders know no fsync; a full disk is still an error
        if error.errno not in _NOT_SUPPORTED:
            raise
