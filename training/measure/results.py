"""Tables in Markdown, and results in JSON that say which weights they belong to."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesal.inference.api import Model
from vesal.inference.data.errors import UsageError, VesalError
from vesal.inference.planning.manifest import MANIFEST


class ResultsError(VesalError, ValueError):
    """A file of results is not what a measurement here writes, or belongs to other weights."""


@dataclass(frozen=True)
class Report:
    """What one measurement has to say."""

    markdown: str
    content: dict[str, Any]
    """For JSON: lists and dicts of plain values."""


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; floats with three digits, NaN and None as an empty cell."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
    return "\n".join(lines)


def cell(value: Any) -> str:
    """One value of a table."""
    if value is None or isinstance(value, float) and math.isnan(value):
        return ""
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def fingerprint(folder: Path) -> str:
    """Digest over the digests of a weights folder's files: the same for the same network and bank."""
    path = folder / MANIFEST
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"{path} gives no digests ({type(error).__name__}); give a folder of weights"
        ) from error
    text = "\n".join(f"{name} {entry['sha256']}" for name, entry in sorted(files.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def about(model: Model) -> dict[str, Any]:
    """Which weights were measured, and on what."""
    runtime = model.runtime
    return {
        "weights": model.profile.name,
        "fingerprint": fingerprint(model.profile.folder),
        "runtime": f"{runtime.name} {runtime.precision}",
        "threads": runtime.threads,
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write results; NaN becomes null, floats keep six digits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_plain(content), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path, weights: Path | None = None) -> dict[str, Any]:
    """Read results; with ``weights`` they must be of that very network. Raises ResultsError."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ResultsError(
            f"{path} cannot be read ({error.strerror}); run the measurement with --json"
        ) from None
    except ValueError as error:
        raise ResultsError(f"{path} is not JSON: {error}; run the measurement again") from None
    came = content.get("fingerprint")
    if weights is not None and came is not None and came != fingerprint(weights):
        raise ResultsError(
            f"{path} was measured with other weights than {weights}; run the measurement again"
        )
    return content


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
