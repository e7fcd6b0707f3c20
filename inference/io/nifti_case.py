"""Cases in NIfTI: `NAME.nii` and `NAME.nii.gz`, with the geometry of their header."""

from __future__ import annotations

import numpy as np

from vesal.inference.io.nifti import SUFFIXES, open_nifti, values_dtype
from vesal.inference.io.nifti_axes import scan_axes
from vesal.inference.io.several_volumes import chosen_volume
from vesal.inference.io.volume_reader import StoredVolume, VolumeReader


class NiftiReader(VolumeReader):
    """A case in NIfTI-1 or -2, one file, packed or not; see `volume_reader.VolumeReader`."""

    suffixes = SUFFIXES

    def _describe(self) -> StoredVolume:
        with open_nifti(self.path) as opened:
            header = opened.header
            axes, notes = scan_axes(self.path.name, header)
            believed = header.offset + header.volumes * header.data_bytes <= 2 * opened.most_bytes
        return StoredVolume(axes, values_dtype(header), notes, believed=believed)

    def _voxels(self, volume: StoredVolume) -> np.ndarray:
        with open_nifti(self.path) as opened:
            return opened.read(chosen_volume(self.path.name, opened.header.volumes, self.options.volume))
