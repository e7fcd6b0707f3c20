"""Where the files of DICOM series lie: a folder with all that is below it, a zip, or a single file."""

from __future__ import annotations

import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO

from vesal.inference.data.errors import CaseError, DicomError, VolumeSizeError
from vesal.inference.io.files import open_regular_file
from vesal.inference.io.limits import MAX_VOLUME_BYTES

MAGIC_AT, MAGIC = 128, b"DICM"
UNREADABLE = (
    *(CaseError, OSError, ValueError, EOFError, RuntimeError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
)
"""What files and members of archives raise that are damaged, or no such."""
ENDS = (".dcm", ".ima", ".dicom")
"""Of names, where they have one: many files of a series have none."""
LOOKED_AT = 20
"""Files of a folder or a zip until it is known whether it is a series."""
MAX_FILES = 50_000
"""Of a series, and beside it; a perfusion has some 5,000."""


@dataclass(frozen=True)
class Source:
    """One file, or one member of a zip."""

    name: str
    """For messages."""
    file: Path
    member: str | None = None
    """Of the zip that ``file`` is."""

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The content; a member is read out of the zip as a stream, and never written anywhere."""
        if self.member is None:
            with open_regular_file(self.file) as file:
                yield file
            return
        with zipfile.ZipFile(self.file) as archive, archive.open(self.member) as stream:
            yield stream

    def is_dicom(self) -> bool:
        """Whether name or content says that it is a DICOM file; never raises."""
        try:
            return self.name.lower().endswith(ENDS) or _is_dicom(self)
        except UNREADABLE:
            return False


def is_series(path: Path) -> bool:
    """Whether a folder or a zip holds DICOM files; never raises.

    Folders below count too, as of a patient with studies and series: they are then one case. A single file in
    a folder belongs to a series and is no case of its own.
    """
    try:
        if os.path.isdir(path):
            return any(map(_is_dicom, islice(_below(path), LOOKED_AT)))
        if not zipfile.is_zipfile(path):
            return False
        with zipfile.ZipFile(path) as archive:
            members = (info for info in archive.infolist() if not info.is_dir())
            return any(_is_dicom_member(archive, info) for info in islice(members, LOOKED_AT))
    except UNREADABLE:
        return False


def sources(path: Path) -> list[Source]:
    """All files at a path, by name. Raises DicomError, VolumeSizeError, or OSError of the system."""
    if os.path.isdir(path):
        found = list(islice(_below(path), MAX_FILES + 1))
    elif path.name.lower().endswith(".zip"):
        found = _members(path)
    else:
        found = [Source(path.name, path)]
    if len(found) > MAX_FILES:
        raise DicomError(f"{path.name}: more than {MAX_FILES} files; give the folder of one series.")
    return found


def _below(folder: Path) -> Iterator[Source]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name[0] != ".")
        for name in sorted(files):
            if name[0] != "." and name != "DICOMDIR":
                path = Path(place, name)
                yield Source(os.fspath(path.relative_to(folder)), path)


def _members(path: Path) -> list[Source]:
    """Members of a zip that are files. What they promise is judged before one is read."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise DicomError(f"{path.name}: no zip archive, or damaged ({error}). Copy it again.") from error
    promised = sum(info.file_size for info in infos)
    if promised > MAX_VOLUME_BYTES:
        raise VolumeSizeError(
            f"{path.name}: {promised} bytes when unpacked; at most {MAX_VOLUME_BYTES} are read. Give one "
            "series."
        )
    if any(info.flag_bits & 1 for info in infos):
        raise DicomError(f"{path.name}: the zip is encrypted; give one without a password.")
    wanted = (info.filename for info in infos if Path(info.filename).name[:1] not in ("", "."))
    names = sorted(name for name in wanted if Path(name).name != "DICOMDIR")
    return [Source(f"{path.name}, {name}", path, name) for name in names]


def _is_dicom(source: Source) -> bool:
    try:
        with source.open() as file:
            return _begins_as_dicom(file)
    except CaseError:  # no regular file
        return False


def _is_dicom_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bool:
    if info.flag_bits & 1:
        return info.filename.lower().endswith(ENDS)
    with archive.open(info) as file:
        return _begins_as_dicom(file)


def _begins_as_dicom(file: IO[bytes]) -> bool:
    return file.read(MAGIC_AT + len(MAGIC))[MAGIC_AT:] == MAGIC
