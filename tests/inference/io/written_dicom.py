"""DICOM series as pydicom writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from vesal.inference.io.file_axes import LPS, FileAxes

ROOT = "1.2.826.0.1.3680043.8.498."


def slice_of(pixels: np.ndarray, axes: FileAxes, at: int, series: int = 1, **fields: Any) -> FileDataset:
    """Slice ``at`` of a volume on a grid; ``pixels`` (rows, columns) are stored values of 16 bits."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = f"{ROOT}{series}.{at + 1}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    affine = LPS @ axes.affine
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / lengths
    file.SOPClassUID, file.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    file.SeriesInstanceUID, file.StudyInstanceUID = f"{ROOT}{series}", f"{ROOT}9"
    file.PatientName, file.PatientID, file.Modality = "A^B", "1", "CT"
    file.SeriesDescription, file.InstanceNumber = f"series {series}", at + 1
    file.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    file.ImagePositionPatient = [round(float(v), 6) for v in affine[:3, 3] + affine[:3, 2] * at]
    file.ImageOrientationPatient = [round(float(v), 6) for v in directions[:, :2].T.ravel()]
    file.PixelSpacing = [float(lengths[1]), float(lengths[0])]
    file.SliceThickness = float(lengths[2])
    file.Rows, file.Columns = pixels.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit = 16, 16, 15
    file.PixelRepresentation = int(pixels.dtype.kind == "i")
    file.RescaleSlope, file.RescaleIntercept = 1, 0
    file.PixelData = np.ascontiguousarray(pixels).tobytes()
    for name, value in fields.items():
        setattr(file, name, value)
    return file


def write_series(
    folder: Path, stored: np.ndarray, axes: FileAxes, series: int = 1, seed: int = 0, **fields: Any
) -> Path:
    """(D,H,W) stored values of 16 bits as one file a slice; their names say nothing of the order."""
    folder.mkdir(exist_ok=True, parents=True)
    names = np.random.default_rng(seed).permutation(len(stored))
    for at, pixels in enumerate(stored):
        file = slice_of(pixels, axes, at, series, **fields)
        file.save_as(folder / f"IM{series}_{names[at]:04d}", enforce_file_format=True)
    return folder


def changed(folder: Path, number: int, **fields: Any) -> Path:
    """Change the file of this InstanceNumber; a field of None goes. Returns its path."""
    for path in sorted(folder.iterdir()):
        file = pydicom.dcmread(path)
        if file.InstanceNumber == number:
            for name, value in fields.items():
                delattr(file, name) if value is None else setattr(file, name, value)
            file.save_as(path)
            return path
    raise AssertionError(number)
