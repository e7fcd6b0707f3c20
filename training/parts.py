"""A long file as short ones: written in parts, each with its SHA-256, and read as one again."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesal.inference.data.errors import VesalError
from vesal.weights.digest import sha256

MB = 1_000_000
LIST = "parts.json"
NAME = "part.{:03d}"
FORMAT = 1


class PartsError(VesalError, ValueError):
    """Parts that are missing, damaged, or of different wholes."""


@dataclass(frozen=True)
class Part:
    """One of them."""

    name: str
    bytes: int
    sha256: str


class PartsWriter(io.RawIOBase):
    """A file to write to, which ends up as parts of at most ``most`` bytes in ``folder``."""

    def __init__(self, folder: Path, most: int) -> None:
        super().__init__()
        folder.mkdir(parents=True, exist_ok=True)
        for old in (*folder.glob(NAME.format(0)[:-3] + "*"), folder / LIST):
            old.unlink(missing_ok=True)
        self.folder, self.most = folder, most
        self.parts: list[Part] = []
        self._held = bytearray()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, content: Any) -> int:
        """Take in bytes; whole parts go to the disk."""
        self._held += content
        while len(self._held) >= self.most:
            self._put(bytes(self._held[: self.most]))
            del self._held[: self.most]
        return len(memoryview(content))

    def close(self) -> None:
        """Write what is left, and the list of the parts."""
        if not self.closed:
            if self._held:
                self._put(bytes(self._held))
            listed = [vars(part) for part in self.parts]
            text = json.dumps({"format": FORMAT, "parts": listed}, indent=1) + "\n"
            (self.folder / LIST).write_text(text, encoding="utf-8")
        super().close()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Close; after an error there is no list, so that half a whole is not taken for one."""
        if kind is None:
            self.close()
        else:
            super().close()

    def _put(self, content: bytes) -> None:
        name = NAME.format(len(self.parts) + 1)
        (self.folder / name).write_bytes(content)
        self.parts.append(Part(name, len(content), hashlib.sha256(content).hexdigest()))


class JoinedParts(io.RawIOBase):
    """Parts read as one file, from beginning to end."""

    def __init__(self, paths: Sequence[Path]) -> None:
        super().__init__()
        self._paths = list(paths)
        self._open: io.BufferedReader | None = None

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """The next ``size`` bytes, fewer at the end; all that are left where it is negative."""
        found = bytearray()
        while size is None or size < 0 or len(found) < size:
            if self._open is None:
                if not self._paths:
                    break
                self._open = self._paths.pop(0).open("rb")
            wanted = -1 if size is None or size < 0 else size - len(found)
            content = self._open.read(wanted)
            found += content
            if not content or wanted < 0:
                self._open.close()
                self._open = None
        return bytes(found)

    def close(self) -> None:
        """Close the part that is open."""
        if self._open is not None:
            self._open.close()
        super().close()


def checked_parts(folders: Sequence[Path]) -> list[Path]:
    """The parts that ``folders`` hold together, in order, each the one that the list tells of.

    Raises:
        PartsError: there is no list, or lists of different wholes; a part is missing or another one.
    """
    lists = {path.read_text(encoding="utf-8") for f in folders if (path := f / LIST).is_file()}
    if len(lists) != 1:
        found = "no" if not lists else f"{len(lists)} different"
        raise PartsError(f"{_named(folders)} hold {found} {LIST}; give the folders of one packing")
    content = json.loads(lists.pop())
    if content.get("format") != FORMAT:
        raise PartsError(f"{LIST} is of format {content.get('format')}, wanted {FORMAT}; pack again")
    return [_checked(folders, Part(**entry)) for entry in content["parts"]]


def _checked(folders: Sequence[Path], part: Part) -> Path:
    paths = [path for f in folders if (path := f / part.name).is_file()]
    if not paths:
        raise PartsError(f"{part.name} is in none of {_named(folders)}; carry it there too")
    for path in paths:
        if sha256(path) == part.sha256:
            return path
    raise PartsError(f"{paths[0]} is not the part that {LIST} tells of: cut short or changed; carry it again")


def _named(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))
