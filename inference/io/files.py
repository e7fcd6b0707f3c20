"""Opening files that others may have put there: only regular ones, without waiting."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

from vesal.inference.data.errors import UnreadableFileError

KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


def open_regular_file(path: Path) -> BufferedReader:
    """Open a file for reading; a FIFO is not waited for.

    Raises UnreadableFileError where it is absent, no regular file, or not readable.
    """
    try:
        number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        if isinstance(error, FileNotFoundError):
            raise UnreadableFileError(
                f"{path} does not exist (No such file or directory); the path of a file is wanted."
            ) from error
        raise UnreadableFileError(f"{path} cannot be opened: {why}. Check path and permissions.") from error
    kind = stat.S_IFMT(os.fstat(number).st_mode)
    if kind != stat.S_IFREG:
        os.close(number)
        raise UnreadableFileError(f"{path} is {KINDS.get(kind, 'no file')}; a regular file is wanted.")
    return os.fdopen(number, "rb")


def kind_of(path: Path) -> str | None:
    """What a path is that is no regular file: `a FIFO`, `a link to itself`, ...; None for a file, or what is
    absent.
    """
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except OSError as error:
        if not os.path.islink(path):
            return None
        return "a link to itself" if error.errno == errno.ELOOP else "a link that leads nowhere"
    return None if kind == stat.S_IFREG else KINDS.get(kind, "no file")
