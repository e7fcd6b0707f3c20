"""Where a file's voxels lie: its grid and affine, the engine's canonical axes, and the way back.

A stored volume is (D,H,W) = (k,j,i) of the file's own indices, i fastest, as SimpleITK and the challenge's
npz have it. Affines take (i,j,k) to RAS millimetres, as in NIfTI; DICOM and ITK have LPS, see ``ras_of_lps``.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np

from vesal.inference.data.errors import AffineError, SpacingError
from vesal.inference.data.notes import Caution
from vesal.inference.data.orientation import STORED, AxisCodes, Orientation, towards
from vesal.inference.geometry.views import Sides

GROWS = ("R", "A", "S")
SHRINKS = ("L", "P", "I")
"""Directions of RAS coordinates, growing and shrinking."""
MAX_SHEAR = 0.02
"""Largest cosine between two axes that counts as rounding: 1 degree."""
MAX_SKEWED = 0.75
"""Largest cosine between two axes of a volume that is read; a gantry is tilted by up to 30 degrees, 0.5."""
OBLIQUE = 0.985
"""Cosine to the nearest direction of the patient below which axes are told to be oblique: 10 degrees."""
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
MM_PER_UNIT = {
    **dict.fromkeys(("m", "meter", "metre"), 1000.0),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 10.0),
    **dict.fromkeys(("mm", "millimeter", "millimetre"), 1.0),
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "micrometer", "micrometre"), 1e-3),
    **dict.fromkeys(("nm", "nanometer", "nanometre"), 1e-6),
    **dict.fromkeys(("å", "angstrom"), 1e-7),
    **dict.fromkeys(("inch", "in"), 25.4),
}
"""Units of length as formats name them, in small letters."""


@dataclass(frozen=True, eq=False)
class FileAxes:
    """The grid of a file; what every reader of a format with geometry gives to every writer."""

    shape: Sides
    """(D,H,W) as stored."""
    affine: np.ndarray
    """(4,4) float64: (i,j,k) to RAS mm. Of lengths alone where directions are not known."""
    codes: AxisCodes | None
    """Of the stored D, H, W; None where the file does not say how it lies."""
    in_micrometres: bool = False
    """The unit that a format which knows several is written in."""
    own: object = None
    """What a writer of the same format needs to keep besides."""

    @property
    def orientation(self) -> Orientation:
        """From the stored axes to the engine's."""
        return STORED if self.codes is None else towards(self.codes)

    @property
    def engine_shape(self) -> Sides:
        """(D,H,W) as the engine sees the volume."""
        return self.orientation.axes(self.shape)

    @property
    def spacing_dhw_mm(self) -> tuple[float, float, float]:
        """Of the stored D, H, W."""
        i, j, k = (float(np.linalg.norm(self.affine[:3, axis])) for axis in range(3))
        return k, j, i

    @property
    def engine_codes(self) -> AxisCodes | None:
        """Axis codes as the engine sees the volume."""
        return None if self.codes is None else self.orientation.turn_codes(self.codes)

    def turned(self, way: Orientation) -> FileAxes:
        """The same voxels with their axes turned, so that the affine belongs to the turned (D,H,W)."""
        shape = way.axes(self.shape)
        affine = np.eye(4)
        affine[:3, 3] = self.affine[:3, 3]
        for axis in range(3):
            column = self.affine[:3, 2 - way.order[axis]]
            if axis in way.reversed:
                affine[:3, 3] += column * (shape[axis] - 1)
                column = -column
            affine[:3, 2 - axis] = column
        codes = None if self.codes is None else way.turn_codes(self.codes)
        return FileAxes(shape, affine, codes, self.in_micrometres)

    def stored_labels(self, labels: np.ndarray) -> np.ndarray:
        """Labels (D,H,W) of the engine on the file's own axes; those of another shape as they are."""
        return self.orientation.back(labels) if self.fits(labels) else labels

    def fits(self, labels: np.ndarray) -> bool:
        """Whether labels (D,H,W) have the shape that the engine sees."""
        return labels.shape == self.engine_shape


def axes_of_affine(name: str, shape: Sides, affine: np.ndarray) -> tuple[FileAxes, tuple[str, ...]]:
    """A grid by its affine, with notes where it is oblique or sheared.

    Args:
        name: of the file, for messages.
        shape: (D,H,W) as stored.
        affine: (4,4), (i,j,k) to RAS mm.

    Raises:
        SpacingError: a voxel has no finite length along an axis.
        AffineError: it is not finite, or its axes are too near to one plane.
    """
    affine = np.array(affine, np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        raise AffineError(f"{name}: the affine is {affine.tolist()}; (4,4) finite numbers are wanted.")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    check_lengths(name, lengths)
    directions = affine[:3, :3] / lengths
    notes = _skew_notes(name, directions)
    # Of all ways to name the three lines once, the one that is nearest to the axes.
    lines = max(permutations(range(3)), key=lambda order: sum(abs(directions[order[a], a]) for a in range(3)))
    i, j, k = ((GROWS if directions[lines[a], a] > 0 else SHRINKS)[lines[a]] for a in range(3))
    nearest = min(abs(directions[lines[a], a]) for a in range(3))
    if nearest < OBLIQUE and not notes:
        degrees = np.degrees(np.arccos(min(1.0, nearest)))
        notes = (
            f"axes are oblique by up to {degrees:.0f} degrees: taken as the nearest ones, {i}{j}{k}; "
            "nothing is resampled",
        )
    return FileAxes(shape, affine, (k, j, i)), notes


def axes_of_lengths(
    name: str, shape: Sides, spacing_dhw_mm: tuple[float, float, float], in_micrometres: bool = False
) -> FileAxes:
    """A grid of which lengths alone are known. Raises SpacingError."""
    lengths = np.array(spacing_dhw_mm[::-1], np.float64)
    check_lengths(name, lengths)
    return FileAxes(shape, np.diag([*lengths, 1.0]), None, in_micrometres)


def check_lengths(name: str, lengths: np.ndarray) -> None:
    """Raise SpacingError unless (3,) lengths (i,j,k) are positive and finite."""
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        shown = ", ".join(f"{length:g}" for length in lengths)
        raise SpacingError(
            f"{name}: the voxel size is ({shown}) mm; three positive lengths are wanted. Correct the header."
        )


def ras_of_lps(directions: np.ndarray, lengths: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """The affine (4,4) to RAS mm of a grid in DICOM's and ITK's coordinates.

    Args:
        directions: (3,3), the axis of i, j, k in its columns, LPS.
        lengths: (3,) mm along i, j, k.
        origin: (3,) LPS mm of the first voxel's centre.
    """
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(directions, np.float64) * np.asarray(lengths, np.float64)
    affine[:3, 3] = origin
    return LPS @ affine


def reverse_in_place(volume: np.ndarray, axes: tuple[int, ...]) -> None:
    """Reverse a volume (D,H,W) along axes with a slice of room: no second copy of a volume is made."""
    within = tuple(axis - 1 for axis in axes if axis)
    if within:
        for plane in volume:
            plane[...] = np.flip(plane, within).copy()
    if 0 in axes:
        for low in range(len(volume) // 2):
            plane = volume[low].copy()
            volume[low] = volume[-1 - low]
            volume[-1 - low] = plane


def canonical_numbers(stored: np.ndarray, orientation: Orientation) -> np.ndarray:
    """A stored volume (D,H,W) on the engine's axes: reversed in place, the order of axes as a view."""
    reversed_stored = tuple(orientation.order[axis] for axis in orientation.reversed)
    reverse_in_place(stored, reversed_stored)
    return stored.transpose(orientation.order)


def skew_of(affine: np.ndarray) -> float:
    """The largest cosine between two axes of an affine (3, 3) or (4, 4); 0 at right angles."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    cosines = directions.T @ directions
    return float(max(abs(cosines[0, 1]), abs(cosines[0, 2]), abs(cosines[1, 2])))


def _skew_notes(name: str, directions: np.ndarray) -> tuple[str, ...]:
    """A note where axes are not at right angles. Raises AffineError where they do not span space."""
    skew = skew_of(directions)
    if skew > MAX_SKEWED or abs(np.linalg.det(directions)) < 1 - MAX_SKEWED:
        raise AffineError(
            f"{name}: the axes of the affine are sheared, with a cosine of {skew:.2f} between two of them, "
            "or lie in one plane; axes at right angles are wanted. Resample the volume."
        )
    if skew <= MAX_SHEAR:
        return ()
    degrees = 90 - np.degrees(np.arccos(skew))
    return (
        Caution(
            f"the axes are sheared by {degrees:.0f} degrees, as by a tilted gantry: the volume is segmented "
            "as a straight stack, and the labels are on the file's own grid"
        ),
    )
