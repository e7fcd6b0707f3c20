"""SHA-256 of weights' files: each is hashed when it is first seen, and again when its size or time changes.

Weights of a published network have gigabytes, and hashing them would be most of a start. So size, time of
change and digest of every file that was hashed are kept beside the files.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
from pathlib import Path

import msgspec
from msgspec import Struct

from vesal.inference.data.errors import UnreadableFileError
from vesal.inference.io.files import open_regular_file

log = logging.getLogger("vesal")

KEPT = ".digests.json"
"""File of a weights folder; git, the wheel and the image leave it out."""
LARGE_BYTES = 256 << 20
"""From here on hashing at every start costs a second or so (2 GB/s on one core), and the log says so."""


class SeenFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A file as it was when it was hashed."""

    size: int
    """Bytes."""
    mtime_ns: int
    sha256: str

    def is_still(self, path: Path) -> bool:
        """Whether size and time of change are those of ``path`` now."""
        now = path.stat()
        return (self.size, self.mtime_ns) == (now.st_size, now.st_mtime_ns)


class Digests:
    """Digests of the files of one folder.

    A file that was damaged, or replaced on purpose, without a change of its size and its time is not noticed:
    this guards against cut and mixed-up files, not against failing disks or an attacker. Delete
    ``.digests.json`` to have everything hashed again.
    """

    def __init__(self, folder: Path) -> None:
        """Read what is kept in ``folder``; a file that cannot be read is as good as none."""
        self._folder = folder
        self._kept = self._seen = _read(folder / KEPT)

    def of(self, name: str) -> str:
        """Hexadecimal SHA-256 of a file of the folder; it is read if it is new, or has changed."""
        path = self._folder / name
        seen = self._seen.get(name)
        if seen is None or not seen.is_still(path):
            # Before it is read: a file that changes meanwhile is then hashed again at the next start.
            facts = path.stat()
            seen = SeenFile(facts.st_size, facts.st_mtime_ns, hashed(path))
            self._seen = {**self._seen, name: seen}
        return seen.sha256

    def keep(self) -> None:
        """Write what was hashed since; where the folder takes no file, the next start hashes again."""
        if self._seen == self._kept:
            return
        temporary = self._folder / f"{KEPT}.{secrets.token_hex(8)}"
        try:
            temporary.write_bytes(msgspec.json.encode(self._seen))
            temporary.replace(self._folder / KEPT)
        except OSError as error:
            size = sum(seen.size for seen in self._seen.values())
            if size >= LARGE_BYTES:
                log.warning(
                    "%s cannot be written (%s): %.1f GB of weights are hashed at every start",
                    self._folder / KEPT,
                    error.strerror,
                    size / 1e9,
                )
            _remove(temporary)
        self._kept = self._seen


def hashed(path: Path) -> str:
    """Hexadecimal SHA-256 of a regular file, which is not read whole; a FIFO is not waited for.

    Raises UnreadableFileError where it cannot be opened, and OSError where it cannot be read.
    """
    with open_regular_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> dict[str, SeenFile]:
    try:
        with open_regular_file(path) as file:
            return msgspec.json.decode(file.read(), type=dict[str, SeenFile])
    except (OSError, UnreadableFileError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}


def _remove(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:
        log.debug("%s is left behind", temporary)
