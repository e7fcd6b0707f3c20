"""Cases in two files, `NAME.hdr` and `NAME.img`: NIfTI-1 and -2, and Analyze 7.5.

The latter does not say how it lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from vesal.inference.data.errors import NiftiError
from vesal.inference.io.files import open_regular_file
from vesal.inference.io.nifti import OpenVoxels, named_errors, open_stream, values_dtype
from vesal.inference.io.nifti_axes import scan_axes
from vesal.inference.io.nifti_header import BYTES_2, NiftiHeader, parse_pair_header
from vesal.inference.io.several_volumes import chosen_volume
from vesal.inference.io.volume_reader import StoredVolume, VolumeReader

HEADER = ".hdr"
VOXELS = (".img", ".IMG", ".img.gz")
"""Ends of the name of the file with the voxels."""


class NiftiPairReader(VolumeReader):
    """A case in a header and a file of voxels; see `volume_reader.VolumeReader`. Its path is the header's."""

    suffixes = (HEADER,)

    def _describe(self) -> StoredVolume:
        header = self._header()
        axes, notes = scan_axes(self.path.name, header)
        with self._opened(header) as voxels:
            believed = header.offset + header.volumes * header.data_bytes <= 2 * voxels.most_bytes
        return StoredVolume(axes, values_dtype(header), notes, believed=believed)

    def _voxels(self, volume: StoredVolume) -> np.ndarray:
        header = self._header()
        number = chosen_volume(self.path.name, header.volumes, self.options.volume)
        with self._opened(header) as voxels:
            return voxels.read(number)

    def _header(self) -> NiftiHeader:
        """Raises NiftiError, UnreadableFileError."""
        with named_errors(self.path), open_regular_file(self.path) as file:
            return parse_pair_header(self.path.name, file.read(BYTES_2))

    @contextmanager
    def _opened(self, header: NiftiHeader) -> Iterator[OpenVoxels]:
        """The file of voxels, at its first one. Raises NiftiError, UnreadableFileError."""
        path = voxels_of(self.path)
        with named_errors(path), open_regular_file(path) as raw:
            stream, most_bytes = open_stream(raw)
            stream.read(header.offset)
            yield OpenVoxels(path.name, header, stream, most_bytes)


def voxels_of(header: Path) -> Path:
    """The file of voxels beside a header. Raises NiftiError."""
    stem = header.name[: -len(HEADER)]
    for end in VOXELS:
        if (path := header.with_name(stem + end)).is_file():
            return path
    raise NiftiError(
        f"{header.name}: {stem}{VOXELS[0]} with its voxels is not beside it; put both files into one "
        "folder, or save the volume as .nii.gz."
    )
