"""The grid that a NIfTI header gives, and masks brought to the grid of a case by it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np

from vesal.inference.data.errors import AffineError, MaskShapeError
from vesal.inference.data.notes import Caution
from vesal.inference.data.orientation import towards
from vesal.inference.geometry.views import Sides
from vesal.inference.io.file_axes import FileAxes, axes_of_affine, axes_of_lengths, skew_of
from vesal.inference.io.limits import check_mask_size
from vesal.inference.io.nifti import open_nifti, read_nifti
from vesal.inference.io.nifti_header import MICROMETRES, NiftiHeader

CONFLICT_VOXELS = 0.5
"""By how much of its shortest side a voxel may lie elsewhere by the qform before that is told."""
GRID_VOXELS = 0.1
"""The same of a mask's voxels."""
SCAN_SHEAR = 0.1
"""Cosine of two axes beyond which a scan is refused; what rounding and registrations leave is told."""


def nifti_axes(name: str, header: NiftiHeader) -> tuple[FileAxes, tuple[str, ...]]:
    """Grid and affine of a header: its sform, else its qform, else lengths alone; and what is odd about them.

    Raises:
        SpacingError: a voxel has no length along an axis.
        AffineError: the axes do not span space.
    """
    sform, qform, notes = header.sform(), header.qform(), list[str]()
    if header.sform_code > 0 and sform is None:
        notes.append("the sform is all 0 and is ignored; the labels have none either")
    affine = qform if sform is None else sform
    own = _repaired(header, affine)
    in_micrometres = header.units & 7 == MICROMETRES
    if affine is None:
        _, i, j, k = np.abs(header.pixdim) * header.mm_per_unit
        told = (
            "the header has no affine: it is not known which side is left; the volume is segmented as stored"
        )
        notes.append(Caution(told))
        axes = axes_of_lengths(name, header.shape_dhw, (float(k), float(j), float(i)), in_micrometres)
        return FileAxes(axes.shape, axes.affine, None, in_micrometres, own), tuple(notes)
    if sform is not None and qform is not None:
        notes += _conflict(header.shape_dhw, sform, qform)
    affine = affine.copy()
    affine[:3] *= header.mm_per_unit
    axes, skewed = axes_of_affine(name, header.shape_dhw, affine)
    return FileAxes(axes.shape, axes.affine, axes.codes, in_micrometres, own), (*notes, *skewed)


def scan_axes(name: str, header: NiftiHeader) -> tuple[FileAxes, tuple[str, ...]]:
    """As ``nifti_axes``, of a scan that is to be segmented: it has to say how it lies.

    Left and right would be a guess without an affine, and other programs refuse a sheared one (ITK does).

    Raises:
        SpacingError: a voxel has no length along an axis.
        AffineError: there is no affine, or its axes are not at right angles.
    """
    axes, notes = nifti_axes(name, header)
    if axes.codes is None:
        raise AffineError(
            f"{name}: the header has no affine, neither a sform nor a qform, so nothing says which side is "
            "left; one is wanted. Save the volume with it (nibabel: Nifti1Image(data, affine)), or as npz, "
            "which is segmented as it is stored."
        )
    if (skew := skew_of(axes.affine)) > SCAN_SHEAR:
        raise AffineError(
            f"{name}: the axes of the affine are sheared, with a cosine of {skew:.2f} between two of them; "
            "axes at right angles are wanted. Resample the volume, or give the DICOM series that it was made "
            "of, in which a tilted gantry is taken."
        )
    return axes, notes


def _repaired(header: NiftiHeader, affine: np.ndarray | None) -> NiftiHeader:
    """The header for labels: without a form that is all 0, and with the lengths of the one that counts."""
    if header.sform_code > 0 and header.sform() is None:
        header = replace(header, sform_code=0)
    lengths = header.pixdim[1:4]
    if affine is None or all(math.isfinite(length) and length > 0 for length in lengths):
        return header
    if header.qform_code > 0:
        header = replace(header, qform_code=0)  # it has these lengths
    i, j, k = (float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
    return replace(header, pixdim=(header.pixdim[0], i, j, k))


def _conflict(shape: Sides, sform: np.ndarray, qform: np.ndarray) -> list[str]:
    """A note where the two forms place voxels apart."""
    apart = largest_distance(shape, sform, qform)
    shortest = float(np.linalg.norm(sform[:3, :3], axis=0).min())
    if apart <= CONFLICT_VOXELS * shortest:
        return []
    told = f"sform and qform of the header differ by up to {apart:.1f} units of length: the sform counts"
    return [Caution(told)]


def largest_distance(shape: Sides, one: np.ndarray, other: np.ndarray) -> float:
    """Largest distance between the places that two affines give a corner of a grid (D,H,W)."""
    ends = [(0, n - 1) for n in reversed(shape)]
    corners = np.array([(i, j, k, 1) for i in ends[0] for j in ends[1] for k in ends[2]], np.float64)
    return float(np.linalg.norm((corners @ (one - other).T)[:, :3], axis=1).max())


def read_nifti_mask(path: Path, wanted: FileAxes) -> np.ndarray:
    """A mask (D,H,W) on the stored grid of a case, by the affines of both; without one, as it is stored.

    Raises:
        UnreadableFileError, NiftiError: it cannot be read.
        MaskShapeError: it lies on another grid.
        MaskSizeError: it does not fit into memory beside the volume.
    """
    with open_nifti(path) as opened:
        header = opened.header
    if header.sform() is None and header.qform() is None:
        return read_nifti(path, wanted.shape)
    mask, _ = nifti_axes(path.name, header)
    assert mask.codes is not None and wanted.codes is not None
    way = towards(mask.codes, wanted.codes)
    turned = mask.turned(way)
    off = "another shape"
    if turned.shape == wanted.shape:
        apart = largest_distance(wanted.shape, turned.affine, wanted.affine)
        off = f"corners up to {apart:.2f} mm away" if apart > GRID_VOXELS * min(wanted.spacing_dhw_mm) else ""
    if off:
        its, other = "".join(mask.codes[::-1]), "".join(wanted.codes[::-1])
        raise MaskShapeError(
            f"{path.name}: its grid, (D,H,W) {mask.shape} with axes {its}, has {off} than the case's, "
            f"{wanted.shape} with axes {other}. Resample the mask to the case."
        )
    check_mask_size(path.name, header.data_bytes, header.data_bytes // header.dtype.itemsize)
    return np.ascontiguousarray(way.turn(read_nifti(path)))
