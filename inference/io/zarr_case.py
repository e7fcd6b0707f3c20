"""Cases in OME-Zarr: a folder `NAME.zarr` or `NAME.ome.zarr`, of which one level is read, by chunks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from vesal.inference.data.errors import FileFormatError, VolumeSizeError
from vesal.inference.data.notes import Caution
from vesal.inference.geometry.views import Sides
from vesal.inference.io.file_axes import axes_of_lengths
from vesal.inference.io.limits import check_volume
from vesal.inference.io.optional import needed
from vesal.inference.io.several_volumes import chosen_volume
from vesal.inference.io.volume_reader import StoredVolume, VolumeReader
from vesal.inference.io.zarr_metadata import Multiscale, check_codecs, read_multiscale

MAX_CHUNK_BYTES = 1 << 30
"""Of one chunk, which is unpacked whole; those in use have megabytes."""
PORTION_BYTES = 1 << 26
"""Read at once, in whole chunks along the first axis."""


class ZarrReader(VolumeReader):
    """A case in an OME-Zarr; see `volume_reader.VolumeReader`."""

    suffixes = (".ome.zarr", ".zarr")

    @cached_property
    def _image(self) -> Multiscale:
        return read_multiscale(self.path)

    @cached_property
    def _chosen(self) -> tuple[int, Any, tuple[str, ...]]:
        """Number of the level, its array, and notes."""
        levels, wanted = self._image.levels, self.options.level
        if wanted is not None:
            if not 0 <= wanted < len(levels):
                raise FileFormatError(
                    f"{self.path.name}: level {wanted} is wanted, and there are {len(levels)}, from 0 on."
                )
            return wanted, self._array(wanted), ()
        refused: VolumeSizeError | None = None
        for number in range(len(levels)):
            array = self._array(number)
            try:
                check_volume(self.path.name, self._shape(array), array.dtype)
            except VolumeSizeError as error:
                refused = error
                continue
            note = f"level {number} of {len(levels)} is taken, the finest that fits the memory"
            told = note if number == 0 else Caution(note)  # a coarser one than there is
            return number, array, (told,) if len(levels) > 1 else ()
        assert refused is not None
        raise refused

    def _describe(self) -> StoredVolume:
        number, array, notes = self._chosen
        shape = self._shape(array)
        lengths, told, is_microscopy = self._lengths(number, array)
        axes = axes_of_lengths(self.path.name, shape, lengths, is_microscopy)
        said = ("Microscopy", "the size of voxels in the OME-Zarr") if is_microscopy else (None, None)
        return StoredVolume(axes, np.dtype(array.dtype).newbyteorder("="), (*notes, *told), *said)

    def _voxels(self, volume: StoredVolume) -> np.ndarray:
        _, array, _ = self._chosen
        further = [n for name, n in zip(self._image.axes, array.shape, strict=True) if name not in "zyx"]
        number = chosen_volume(self.path.name, math.prod(further), self.options.volume)
        at = iter(np.unravel_index(number, further)) if further else iter(())
        index: list[Any] = [slice(None) if name in "zyx" else int(next(at)) for name in self._image.axes]
        voxels = np.empty(volume.axes.shape, volume.dtype)
        if "z" not in self._image.axes:
            voxels[0] = self._read(array, index)
            return voxels
        z = self._image.axes.index("z")
        thick = _portion(array.chunks[z], voxels[:1].nbytes)
        for start in range(0, len(voxels), thick):
            index[z] = slice(start, min(start + thick, len(voxels)))
            voxels[index[z]] = self._read(array, index)
        return voxels

    def _array(self, number: int) -> Any:
        """The array of a level, of which nothing is read yet. Raises FileFormatError."""
        with needed(self.path.name):
            import zarr
        path = self.path / self._image.levels[number].path
        check_codecs(path)
        try:
            array = zarr.open_array(store=str(path), mode="r")
        except Exception as error:  # zarr's own are many, and of any base
            raise self._failed(error, number) from error
        if len(array.shape) != len(self._image.axes):
            raise FileFormatError(
                f"{self.path.name}: level {number} has shape {array.shape} and axes {self._image.axes}."
            )
        if math.prod(array.chunks) * array.dtype.itemsize > MAX_CHUNK_BYTES:
            raise VolumeSizeError(
                f"{self.path.name}: a chunk of level {number}, {array.chunks} voxels, has more than "
                f"{MAX_CHUNK_BYTES} bytes; smaller ones are read."
            )
        return array

    def _read(self, array: Any, index: Sequence[Any]) -> np.ndarray:
        """Part of an array. Raises FileFormatError where a chunk is damaged."""
        try:
            return np.asarray(array[tuple(index)])
        except (MemoryError, KeyboardInterrupt):
            raise
        except Exception as error:  # of whatever codec
            raise self._failed(error, self._chosen[0]) from error

    def _failed(self, error: Exception, number: int) -> FileFormatError:
        said = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        return FileFormatError(f"{self.path.name}: level {number} cannot be read ({said}). Copy it again.")

    def _shape(self, array: Any) -> Sides:
        """(D,H,W); D is 1 where there is no z."""
        sides = dict(zip(self._image.axes, array.shape, strict=True))
        return int(sides.get("z", 1)), int(sides["y"]), int(sides["x"])

    def _lengths(self, number: int, array: Any) -> tuple[tuple[float, float, float], tuple[str, ...], bool]:
        """mm along (D,H,W), notes, and whether they are of microscopy: where a unit below mm says so."""
        image, scale = self._image, self._image.levels[number].scale
        spatial = [image.axes.index(name) for name in "zyx" if name in image.axes]
        if scale is None or len(scale) != len(image.axes):
            return (1.0, 1.0, 1.0), (Caution("no scale is given: 1 mm is taken along every axis"),), False
        units = [image.mm_per_unit[axis] for axis in spatial]
        told = () if all(units) else ("a length has no unit: micrometres are taken, as OME does",)
        lengths = [scale[axis] * (unit or 1e-3) for axis, unit in zip(spatial, units, strict=True)]
        d, h, w = [1.0 * lengths[0]] * (3 - len(lengths)) + lengths
        return (d, h, w), told, not all(unit is not None and unit >= 1.0 for unit in units)


def _portion(chunk: int, plane_bytes: int) -> int:
    """Slices that are read at once: whole chunks, at least one."""
    return chunk * max(1, PORTION_BYTES // max(1, chunk * plane_bytes))
