"""From the frames of a DICOM series to one volume: which of them, in which order, on which grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vesal.inference.data.errors import SeriesError
from vesal.inference.data.notes import Caution
from vesal.inference.io.dicom_frames import Frame, Series
from vesal.inference.io.file_axes import FileAxes, axes_of_affine, axes_of_lengths, ras_of_lps
from vesal.inference.io.several_volumes import chosen_volume

SAME_PLACE_MM = 0.01
"""Slices nearer than this are at one place."""
UNEVEN = 0.1
"""Largest share of the usual gap by which another may differ, beside whole missing slices."""
MOST_MISSING = 0.2
"""Largest share of slices that may be missing; they are interpolated, and told."""


DAMAGED_TOLD = 5


@dataclass(frozen=True, eq=False)
class SliceStack:
    """A volume as it will be read."""

    axes: FileAxes
    frames: tuple[Frame | None, ...]
    """From the first slice to the last one along D; None where one is missing."""
    notes: tuple[str, ...]


def choose_series(name: str, series: Sequence[Series], uid: str | None) -> tuple[Series, tuple[str, ...]]:
    """The series of this UID, else the largest; and notes of the others. Raises SeriesError."""
    names = series[0].damaged
    shown = ", ".join(names[:DAMAGED_TOLD]) + (", ..." if len(names) > DAMAGED_TOLD else "")
    notes = (Caution(f"{len(names)} DICOM files are damaged and left out: {shown}"),) if names else ()
    if uid is None:
        others = [str(each) for each in series[1:]]
        told = f"the largest of {len(series)} series is taken, {series[0]}; the others: {'; '.join(others)}"
        return series[0], (*notes, Caution(told)) if others else notes
    for each in series:
        if each.uid == uid.strip():
            return each, notes
    there = "; ".join(map(str, series))
    raise SeriesError(f"{name}: there is no series {uid!r}. There are: {there}.")


def stack(name: str, series: Series, volume: int | None = None) -> SliceStack:
    """The frames of a series as one volume.

    Args:
        name: of the case's file, for messages.
        series: of ``dicom_frames.read_series``.
        volume: which one, where several lie at the same places (phases, echoes).

    Raises:
        SeriesError: slices overlap, are unevenly spaced, or too many are missing.
        SeveralVolumesError: there are several volumes and none was chosen.
        SpacingError: a voxel has no length.
    """
    frames, notes = _one_group(name, series)
    if frames[0].position is None or frames[0].directions is None:
        return _without_places(name, frames, notes)
    ordered = _one_volume(name, frames, volume)
    places = _along_normal(ordered)
    filled, missing = _with_gaps(name, ordered, places)
    axes, told = axes_of_affine(
        name, (len(filled), frames[0].rows, frames[0].columns), _affine(ordered, filled)
    )
    if missing:
        told = (*told, missing)
    return SliceStack(axes, tuple(filled), (*notes, *told))


def _one_group(name: str, series: Series) -> tuple[list[Frame], tuple[str, ...]]:
    """Most frames that share size, direction and pixel spacing, without localizers; what is left is told."""
    frames = [frame for frame in series.frames if not frame.localizer]
    notes: list[str] = []
    if not frames:
        raise SeriesError(f"{name}: series {series} has localizers (scouts) only; choose another series.")
    if len(frames) < len(series.frames):
        notes.append(f"{len(series.frames) - len(frames)} localizers of the series are left out")
    groups = _groups(frames)
    taken = max(groups, key=lambda each: (len(each), each[0].rows * each[0].columns))
    if len(groups) > 1:
        sizes = ", ".join(_size_told(each) for each in groups if each is not taken)
        told = (
            f"the series mixes images of several sizes or directions: {_size_told(taken)} make the volume, "
        )
        notes.append(Caution(f"{told}{sizes} are left out"))
    return taken, tuple(notes)


def _groups(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Frames by the first one that each is like."""
    groups: list[list[Frame]] = []
    for frame in frames:
        mine = next((group for group in groups if frame.is_like(group[0])), None)
        if mine is None:
            groups.append([frame])
        else:
            mine.append(frame)
    return groups


def _size_told(group: Sequence[Frame]) -> str:
    return f"{len(group)} of {group[0].rows}x{group[0].columns}"


def _without_places(name: str, frames: list[Frame], notes: tuple[str, ...]) -> SliceStack:
    """Frames in the order of their numbers, on a grid of lengths alone."""
    ordered = sorted(frames, key=lambda frame: (frame.order[-2:], frame.source.name))
    height, width = ordered[0].pixel_mm or (1.0, 1.0)
    lengths = (ordered[0].thickness or 1.0, height, width)
    axes = axes_of_lengths(name, (len(ordered), ordered[0].rows, ordered[0].columns), lengths)
    note = "the images have no place in the patient: stacked by their numbers, and no side is known"
    if ordered[0].pixel_mm is None:
        note += "; no pixel spacing is given, 1 mm is taken"
    return SliceStack(axes, tuple(ordered), (*notes, Caution(note)))


def _normal(frame: Frame) -> np.ndarray:
    """(3,) across the slice, LPS."""
    assert frame.directions is not None
    return np.cross(frame.directions[:3], frame.directions[3:])


def _along_normal(frames: Sequence[Frame]) -> np.ndarray:
    """(n,) mm across the slices."""
    return np.array([frame.position for frame in frames], np.float64) @ _normal(frames[0])


def _one_volume(name: str, frames: list[Frame], volume: int | None) -> list[Frame]:
    """One frame for each place, in their order."""
    if any(frame.position is None for frame in frames):
        raise SeriesError(f"{name}: some images of the series have no ImagePositionPatient.")
    places = _along_normal(frames)
    at: list[list[Frame]] = []
    first = -np.inf
    for number in np.argsort(places, kind="stable"):
        if places[number] - first > SAME_PLACE_MM:
            first = places[number]
            at.append([])
        at[-1].append(frames[number])
    counts = {len(each) for each in at}
    if len(counts) > 1:
        raise SeriesError(
            f"{name}: between {min(counts)} and {max(counts)} images lie at one place, so slices overlap, or "
            "are missing in some of several volumes. Give the series of one volume, or all of its files."
        )
    index = chosen_volume(name, counts.pop(), volume)
    return [sorted(each, key=lambda frame: frame.order)[index] for each in at]


def _with_gaps(name: str, ordered: list[Frame], places: np.ndarray) -> tuple[list[Frame | None], str | None]:
    """The frames with None where slices are missing, and a note. Raises SeriesError."""
    if len(ordered) < 3:
        return list(ordered), None
    gaps = np.diff(places)
    # Where many slices are missing, most gaps are wide ones.
    usual = float(np.median(gaps[gaps <= gaps.min() * (1 + UNEVEN)]))
    steps = np.rint(gaps / usual)
    if (steps < 1).any() or (abs(gaps - steps * usual) > UNEVEN * usual).any():
        raise SeriesError(
            f"{name}: the slices are unevenly spaced, {gaps.min():.2f} to {gaps.max():.2f} mm; even ones are "
            "wanted. Resample the volume, or give the series of one volume."
        )
    missing = int(steps.sum()) - len(gaps)
    if not missing:
        return list(ordered), None
    where = ", ".join(f"{place + usual:.1f}" for place, step in zip(places, steps, strict=False) if step > 1)
    said = f"{missing} slices are missing (at {where} mm along the series)"
    if missing > MOST_MISSING * len(ordered):
        raise SeriesError(f"{name}: {said} beside {len(ordered)}. Give all files of the series.")
    filled: list[Frame | None] = [ordered[0]]
    for frame, step in zip(ordered[1:], steps, strict=True):
        filled += [*[None] * (int(step) - 1), frame]
    return filled, Caution(f"{said}: interpolated between their neighbours")


def _affine(ordered: list[Frame], filled: Sequence[Frame | None]) -> np.ndarray:
    """(4,4) to RAS mm of columns, rows and slices."""
    first, last = ordered[0], ordered[-1]
    directions, (height, width) = np.array(first.directions, np.float64), first.pixel_mm or (1.0, 1.0)
    if len(filled) > 1:
        across = (np.array(last.position) - np.array(first.position)) / (len(filled) - 1)
    else:
        across = _normal(first) * (first.thickness or 1.0)
    length = float(np.linalg.norm(across))
    axes = np.column_stack([directions[:3], directions[3:], across / length if length else across])
    return ras_of_lps(axes, np.array([width, height, length]), np.array(first.position, np.float64))
