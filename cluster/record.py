"""What became of one case: one JSON file a case, `OUT/batch/cases/NAME.json`, all that a run knows of it.

Table, page, `--merge` and progress are made of these alone, so that a driver that is killed loses nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from vesal.cluster.places import joined
from vesal.inference.data.results import FELL_BACK, NOT_RUN, OK, SKIPPED
from vesal.inference.output.report import to_json

FAILED = "failed"
"""Of a case without a label map."""
STATES = (OK, SKIPPED, FELL_BACK, FAILED, NOT_RUN)
"""``skipped`` is a case's state in a run that found it done before: its file keeps the state it had.
``not run`` is told of by ``--merge`` alone."""
HAVE_RESULT = (OK, SKIPPED, FELL_BACK)
FOLDER = "batch"
"""Of the records and of what is made of them, below the folder of the label maps."""
CASES = f"{FOLDER}/cases"
RUN_FILE = f"{FOLDER}/run.json"
"""What a run writes of itself before its first case, and so sees whether the folder can be written."""


@dataclass(frozen=True)
class TargetRow:
    """What is told of one prompt of a case."""

    id: int
    text: str
    target: str | None = None
    voxels: int | None = None
    volume_ml: float | None = None
    mean_probability: float | None = None
    reason: str | None = None
    """Why it was read, covered or refused as it was."""


@dataclass(frozen=True)
class Record:
    """One case of a run."""

    name: str
    source: str
    """As it may be shown (``places.shown``): without passwords and without the query of a signed URL."""
    output: str
    state: str
    """One of ``STATES``."""
    targets: tuple[TargetRow, ...] = ()
    seconds: float | None = None
    """Of the attempt that gave the result; None: not known."""
    worker: str = ""
    attempts: int = 1
    reason: str | None = None
    """What went wrong, or worse than planned."""
    warnings: tuple[str, ...] = ()
    """Of the notes on the case those that may change its result."""
    sha256: str | None = None
    """Of the label map."""
    marks: Mapping[str, str] = field(default_factory=dict)
    """What a store says of the content of the remote files that were read and written (their ETags, hashed),
    so that a rerun need not fetch them; see ``brought``."""
    prompts: tuple[str, ...] = ()
    """Sentences that the run asked for; empty: what the case itself says."""

    @property
    def has_result(self) -> bool:
        """Whether there is a label map."""
        return self.state in HAVE_RESULT

    def to_json(self) -> str:
        """As the file holds it."""
        return json.dumps(to_json(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Record:
        """As ``to_json`` wrote it; fields of later versions are left out.

        Raises:
            ValueError: it is no record.
        """
        try:
            record = msgspec.convert(json.loads(text), cls)
        except (msgspec.ValidationError, RecursionError) as error:
            raise ValueError(f"no record of a case: {error}") from error
        if record.state not in STATES or not record.name:
            raise ValueError(f"no record of a case: {record.name!r} with the state {record.state!r}")
        return record


def record_place(output_folder: str, name: str) -> str:
    """Path or URL of a case's record, below the folder of the label maps."""
    return joined(output_folder, f"{CASES}/{name}.json")
