"""The zip archive of a checkpoint: its pickle and its entries, also where the end of the file is missing."""

from __future__ import annotations

import mmap
import re
import struct
import zipfile
from pathlib import Path
from typing import NamedTuple

from vesal.weights.convert.errors import CheckpointError, MissingTensorsError
from vesal.weights.convert.pointer import pointer_told

PICKLE = "data.pkl"
HEADER, NAME_AT = b"PK\x03\x04", 30
"""How an entry's header begins, and bytes of it in front of the name."""


class Archive(NamedTuple):
    """What an archive holds."""

    pickled: bytes
    """The list of tensors."""
    entries: dict[str, zipfile.ZipInfo]
    """Whole entries, by name without the folder."""
    complete: bool
    """Whether the directory is there, at the end; without it nothing tells sizes and checksums of entries."""


def read_archive(path: Path) -> Archive:
    """The pickle of a checkpoint, and the entries of its archive; their values are not read.

    Raises:
        CheckpointError: there is no such file, it is no zip archive, or its directory or pickle is damaged;
            or it is a pointer of Git LFS.
        MissingTensorsError: there is no pickle, or the file ends before it does.
    """
    pointer = pointer_told(path)
    if pointer is not None:
        raise CheckpointError(pointer)
    try:
        with zipfile.ZipFile(path) as archive:
            entries = {_plain(entry.filename): entry for entry in archive.infolist()}
            found = Archive(_checked(path, archive) if PICKLE in entries else b"", entries, True)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be read ({error.strerror}); wanted is a published .pth file."
        ) from None
    except Exception:  # zipfile raises almost anything on a damaged directory
        found = _without_directory(path)
    if PICKLE not in found.entries:
        raise MissingTensorsError(
            f"{path} {'lacks' if found.complete else 'ends before'} its entry {PICKLE}: all of its tensors "
            "are missing. Wanted is a file that torch.save wrote (1.6 or later); fetch it again."
        )
    return found


def _checked(path: Path, archive: zipfile.ZipFile) -> bytes:
    """The pickle, if every entry's header agrees with the directory, at which torch does not look."""
    name = ""
    try:
        for entry in archive.infolist():
            name = entry.filename
            archive.open(entry).close()
        (entry,) = (e for e in archive.infolist() if _plain(e.filename) == PICKLE)
        name = f"{PICKLE}, the list of tensors,"
        return archive.read(entry)
    except Exception as error:  # zipfile raises almost anything on damaged entries
        raise CheckpointError(f"{path}: {name} is damaged ({error}); fetch it again.") from error


def _without_directory(path: Path) -> Archive:
    """What a cut file holds: an entry is whole if another, or the directory, begins behind it.

    torch writes entries as a stream, so their headers do not tell how long they are.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if size < NAME_AT or file.read(len(HEADER)) != HEADER:
            raise CheckpointError(
                f"{path} ({size} bytes) is no zip archive, which torch.save writes since version 1.6. If it "
                "is an older file, load and save it once with such a torch; else fetch it again."
            )
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            folder = re.escape(data[NAME_AT : NAME_AT + 100].split(b"/")[0])
            starts = re.compile(rb"PK(?:\x03\x04.{26}" + folder + rb"/|\x01\x02)", re.DOTALL).finditer(data)
            edges = [found.start() for found in starts]
            where = {}
            for start, end in zip(edges, edges[1:], strict=False):
                if data[start : start + len(HEADER)] == HEADER:
                    length, extra = struct.unpack_from("<2H", data, start + NAME_AT - 4)
                    first = start + NAME_AT + length
                    name = _plain(data[start + NAME_AT : first].decode("utf-8", "replace"))
                    where[name] = slice(first + extra, end)
            pickled = data[where[PICKLE]] if PICKLE in where else b""
    return Archive(pickled, {name: zipfile.ZipInfo(name) for name in where}, False)


def _plain(name: str) -> str:
    """``step_1/data/0`` -> ``data/0``."""
    return name.split("/", 1)[-1]
