"""The zip archive of a checkpoint, also where its end is missing: what is in it, and what was cut off."""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from vesal.weights.convert.errors import CheckpointError

_LOCAL = struct.Struct("<4s5H3I2H")
_SIGNATURE = b"PK\x03\x04"


@dataclass(frozen=True)
class Entry:
    """One entry of an archive."""

    path: Path
    name: str
    """In the archive, with its folder."""
    start: int | None
    """First byte of a stored entry of an archive without its end; None: the archive can be read as such."""
    size: int
    complete: bool

    def read(self, holds: str = "the list of tensors") -> bytes:
        """All bytes. Raises CheckpointError where they are damaged, with what the entry ``holds``."""
        try:
            if self.start is None:
                with zipfile.ZipFile(self.path) as archive:
                    return archive.read(self.name)
            with self.path.open("rb") as file:
                file.seek(self.start)
                return file.read(self.size)
        except (zipfile.BadZipFile, NotImplementedError, EOFError, zlib.error) as error:
            raise CheckpointError(
                f"{self.path}: {self.name}, {holds}, is damaged ({error}); fetch it again."
            ) from error


def entries_of(path: Path) -> tuple[dict[str, Entry], bool]:
    """Entries of the archive by name without its folder, and whether the archive has its end.

    Raises:
        CheckpointError: there is no such file, or it is no zip archive.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            found = [Entry(path, i.filename, None, i.file_size, True) for i in archive.infolist()]
            return {_plain(entry.name): entry for entry in found}, True
    except zipfile.BadZipFile:
        found = _from_the_front(path)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}); wanted is a published .pth file."
        ) from None
    if not found:
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is no zip archive, which torch.save writes since version "
            "1.6. If it is an older file, load and save it once with such a torch; else fetch it again."
        )
    return {_plain(entry.name): entry for entry in found}, False


def _plain(name: str) -> str:
    """``step_1/data/0`` -> ``data/0``."""
    return name.split("/", 1)[-1]


def _from_the_front(path: Path) -> list[Entry]:
    """Entries by their own headers, as far as the file goes; the last one may be cut."""
    found = []
    length, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while len(head := file.read(_LOCAL.size)) == _LOCAL.size and head.startswith(_SIGNATURE):
            fields = _LOCAL.unpack(head)
            flags, size, name_length, extra = fields[2], fields[7], fields[9], fields[10]
            name = file.read(name_length).decode("utf-8", "replace")
            start = at + _LOCAL.size + name_length + extra
            if flags & 8 and size == 0:  # written as a stream: sizes stand behind the bytes, or nowhere
                break
            found.append(Entry(path, name, start, size, start + size <= length))
            at = start + size
            file.seek(at)
    return found
