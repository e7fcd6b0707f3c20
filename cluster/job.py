"""One case that is to be run: which scan, what is asked for, where the label map goes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """One case; `asdict` of it can be written as JSON.

    ``source`` may be a signed URL: only ``places.shown`` of it is written or logged anywhere.
    """

    name: str
    """Unique in a run, and the path of its files below the folders of the run: `site-a/CT_1`."""
    source: str
    """Path or URL of the scan."""
    output: str
    """Path or URL of the label map."""
    prompts: tuple[str, ...] = ()
    """Sentences; empty: as the case, or NAME.json beside it, says."""
    modality: str | None = None
    cost: float = 1.0
    """What it is expected to take, in voxels x prompts; only ratios count."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Job:
        """As ``to_json`` gave it."""
        return cls(**{**values, "prompts": tuple(values["prompts"])})
