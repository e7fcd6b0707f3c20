"""What a user says of where in its file a volume is found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ReadOptions:
    """Choices among several volumes; None: the format's own choice counts."""

    series: str | None = None
    """SeriesInstanceUID of a DICOM series, where a folder or a zip holds several; by default the largest."""
    level: int | None = None
    """Resolution level of an OME-Zarr, 0 the finest; by default the finest that fits the memory."""
    volume: int | None = None
    """Index, from 0 on, of a volume along the axes beyond three (time, channels)."""


NO_OPTIONS = ReadOptions()
