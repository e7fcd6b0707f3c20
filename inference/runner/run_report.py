"""The report of a run, out of its cases and its model."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from vesal import __version__
from vesal.inference.data.results import CaseReport, RunReport
from vesal.inference.runner.lazy_model import LazyModel
from vesal.inference.runner.settings import Settings
from vesal.inference.runtime.machine import peak_mb, processor

if TYPE_CHECKING:
    from vesal.inference.api import Model


def run_report(
    settings: Settings, model: LazyModel, cases: Sequence[CaseReport], seconds: float, ended: str, code: int
) -> RunReport:
    return RunReport(
        version=__version__,
        weights=model.model.name if model.model else settings.weights,
        runtime=_runtime(model.model),
        processor=processor(),
        settings=settings,
        started=(datetime.now(UTC) - timedelta(seconds=seconds)).isoformat(timespec="seconds"),
        seconds=seconds,
        peak_mb=peak_mb(),
        exit_code=code,
        ended=ended,
        cases=tuple(cases),
        provenance=model.model.provenance if model.model else {},
    )


def _runtime(model: "Model | None") -> dict[str, Any]:
    """The runtime's entry in the report."""
    if model is None:
        return {"name": None, "reason": "the weights were never opened"}
    return model.runtime_report()
