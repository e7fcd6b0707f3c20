"""Cases in NRRD and MetaImage, as ITK reads them (SimpleITK): `.nrrd`, `.nhdr`, `.mha`, `.mhd`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from vesal.inference.data.errors import ColourError, FileFormatError, VolumeShapeError
from vesal.inference.data.notes import Caution
from vesal.inference.io.file_axes import FileAxes, axes_of_affine, axes_of_lengths, ras_of_lps
from vesal.inference.io.files import open_regular_file
from vesal.inference.io.nifti import MOST_PACKED
from vesal.inference.io.optional import needed
from vesal.inference.io.several_volumes import chosen_volume
from vesal.inference.io.volume_reader import StoredVolume, VolumeReader

HEADER_BYTES = 1 << 16
"""Of the text in front of the voxels, as far as it is looked at here."""
SAYS_AXES = re.compile(rb"^(space|space directions|transformmatrix|orientation|rotation)\s*[:=]", re.I | re.M)
"""Lines without which a file does not say how it lies; ITK then gives the identity."""
ELSEWHERE = re.compile(rb"^(?:data ?file\s*:|elementdatafile\s*=)[ \t]*([^\r\n]*)", re.I | re.M)
"""The line that names the file of the voxels."""
DTYPES = {
    "8-bit unsigned integer": "u1",
    "8-bit signed integer": "i1",
    "16-bit unsigned integer": "u2",
    "16-bit signed integer": "i2",
    "32-bit unsigned integer": "u4",
    "32-bit signed integer": "i4",
    "64-bit unsigned integer": "u8",
    "64-bit signed integer": "i8",
    "32-bit float": "f4",
    "64-bit float": "f8",
}
"""numpy's types by ITK's names."""


class ItkReader(VolumeReader):
    """A case that SimpleITK reads; see `volume_reader.VolumeReader`."""

    suffixes = (".nrrd", ".nhdr", ".mha", ".mhd")

    def _describe(self) -> StoredVolume:
        head, in_this_file = self._text()
        reader = self._reader()
        dtype = self._dtype(reader)
        size = reader.GetSize()
        if len(size) < 3:
            raise VolumeShapeError(f"{self.path.name}: {len(size)} axes of lengths {size}; three are wanted.")
        axes, notes = self._axes(reader, says_axes=bool(SAYS_AXES.search(head)))
        promised = int(np.prod(size, dtype=object)) * dtype.itemsize
        believed = not in_this_file or promised <= 2 * MOST_PACKED * os.path.getsize(self.path)
        return StoredVolume(axes, dtype, notes, believed=believed)

    def _voxels(self, volume: StoredVolume) -> np.ndarray:
        itk, reader = self._itk(), self._reader()
        size = reader.GetSize()
        number = chosen_volume(self.path.name, int(np.prod(size[3:], dtype=object)), self.options.volume)
        if len(size) > 3:
            at = np.unravel_index(number, size[3:], order="F")
            reader.SetExtractSize([*size[:3], *[0] * (len(size) - 3)])
            reader.SetExtractIndex([0, 0, 0, *map(int, at)])
        try:
            return np.ascontiguousarray(itk.GetArrayFromImage(reader.Execute()))
        except RuntimeError as error:
            raise self._failed(error) from error

    def _text(self) -> tuple[bytes, bool]:
        """The header's text, and whether the voxels are in this file. Raises FileFormatError."""
        with open_regular_file(self.path) as file:
            head = file.read(HEADER_BYTES).split(b"\n\n")[0]
        named = ELSEWHERE.search(head)
        other = named[1].strip().decode("utf-8", "replace") if named else "LOCAL"
        if other.upper() == "LOCAL":
            return head, True
        beside = re.split(r"[\s%]", other)[0] or other
        if os.path.isabs(beside) or ".." in Path(other).parts:
            raise FileFormatError(
                f"{self.path.name}: the voxels are said to be in {other!r}; a file in the same folder is "
                "wanted."
            )
        return head, False

    def _itk(self) -> Any:
        """SimpleITK. Raises MissingPackageError."""
        with needed(self.path.name):
            import SimpleITK
        return SimpleITK

    def _reader(self) -> Any:
        """Of SimpleITK, with the header read. Raises FileFormatError."""
        itk = self._itk()
        reader = itk.ImageFileReader()
        reader.SetFileName(os.fspath(self.path))
        try:
            reader.ReadImageInformation()
        except RuntimeError as error:
            raise self._failed(error) from error
        return reader

    def _dtype(self, reader: Any) -> np.dtype:
        """Of the voxels. Raises ColourError."""
        said = self._itk().GetPixelIDValueAsString(reader.GetPixelIDValue())
        if said not in DTYPES:
            raise ColourError(
                f"{self.path.name}: a voxel is {said} of {reader.GetNumberOfComponents()}; one real number "
                "is wanted. Save one grey volume (three or four numbers are colours, RGB or RGBA)."
            )
        return np.dtype(DTYPES[said])

    def _axes(self, reader: Any, says_axes: bool) -> tuple[FileAxes, tuple[str, ...]]:
        """The grid of the first three axes."""
        size, count = reader.GetSize(), reader.GetDimension()
        x, y, z = (float(s) for s in reader.GetSpacing()[:3])
        shape = (size[2], size[1], size[0])
        if not says_axes:
            note = Caution("the file does not say how it lies: it is segmented as stored")
            return axes_of_lengths(self.path.name, shape, (z, y, x)), (note,)
        directions = np.array(reader.GetDirection()).reshape(count, count)[:3, :3]
        affine = ras_of_lps(directions, np.array([x, y, z]), np.array(reader.GetOrigin()[:3]))
        return axes_of_affine(self.path.name, shape, affine)

    def _failed(self, error: RuntimeError) -> FileFormatError:
        """What ITK says, in one line, as a named error."""
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = lines[-1] if lines else "no reason"
        return FileFormatError(f"{self.path.name}: ITK cannot read it ({said[:200]}). Copy or save it again.")
