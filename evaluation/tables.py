"""Tables out of the results of all cases: one row a case, a target, a modality."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import nan

from vesal.evaluation.scoring import SCORES, CaseResult, same_score
from vesal.evaluation.statistics import Summary, summarize

OFFICIAL_COLUMNS = ("CaseName", "RunningTime", "DSC", "NSD", "F1", "DSC_TP")
"""Columns of the official script's CSV, in its order."""

NAMES = dict(zip(SCORES, OFFICIAL_COLUMNS[2:], strict=True))


@dataclass(frozen=True)
class Measurement:
    """One score of one target in one case."""

    case: str
    modality: str
    target: str
    score: str
    value: float
    truth_ml: float


@dataclass(frozen=True)
class Row:
    """Summary of one score over the cases of a target, a modality, or all."""

    modality: str
    target: str
    score: str
    summary: Summary


def measurements(results: Iterable[CaseResult], official: bool = False) -> list[Measurement]:
    """Return every score of every target, without those that are NaN.

    A semantic case gives DSC and NSD of each class, an instance case F1 and DSC_TP under its targets' names.
    """
    found = []
    for result in results:
        score = result.official if official else result.plain
        for class_id, of_class in score.classes.items():
            volume_ml = of_class.truth_voxels * result.voxel_ml
            target = result.targets.get(class_id, str(class_id))
            for name in ("dsc", "nsd"):
                value = getattr(of_class, name)
                found.append(_measured(result, target, name, value, volume_ml))
        if result.instance:
            target = ", ".join(result.targets.values())
            for name in ("f1", "dsc_tp"):
                value = getattr(score, name)
                found.append(_measured(result, target, name, value, nan))
    return [m for m in found if m.value == m.value]


def per_target(measured: Iterable[Measurement]) -> list[Row]:
    """Summarize by modality, target and score, sorted by these names."""
    return _grouped(((m.modality, m.target, m.score), m.value) for m in measured)


def per_modality(results: Sequence[CaseResult], official: bool = False) -> list[Row]:
    """Summarize the scores of whole cases by modality, as the challenge averages them; then of all."""
    values = []
    for result in results:
        score = result.official if official else result.plain
        for name in SCORES:
            value = getattr(score, name)
            if value == value:
                values.append(((result.modality, "", NAMES[name]), value))
    everything = [(("all", "", name), value) for (_, _, name), value in values]
    return _grouped(values) + _grouped(everything)


def case_rows(
    results: Sequence[CaseResult], official: bool = False, seconds: dict[str, float] | None = None
) -> list[dict[str, str]]:
    """Return the per-case table: official columns, reason, the other mode's scores where they differ."""
    other = "plain" if official else "official"
    rows = []
    for result in results:
        shown, hidden = (result.official, result.plain) if official else (result.plain, result.official)
        row = {"CaseName": f"{result.name}.npz", "RunningTime": _text((seconds or {}).get(result.name))}
        row |= {NAMES[s]: _text(getattr(shown, s)) for s in SCORES}
        row["Reason"] = (result.official_reason or result.official_note) if official else result.reason
        for s in SCORES:
            differs = not same_score(getattr(shown, s), getattr(hidden, s))
            row[f"{NAMES[s]}_{other}"] = (_text(getattr(hidden, s)) or "none") if differs else ""
        rows.append(row)
    return rows


def lost_officially(results: Sequence[CaseResult]) -> list[str]:
    """Return the cases that the official script would not score: the first it raises on, all after it."""
    for position, result in enumerate(results):
        if result.official_reason:
            return [later.name for later in results[position:]]
    return []


def _measured(result: CaseResult, target: str, name: str, value: float, truth_ml: float) -> Measurement:
    return Measurement(result.name, result.modality, target, NAMES[name], value, truth_ml)


def _grouped(keyed: Iterable[tuple[tuple[str, str, str], float]]) -> list[Row]:
    groups: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for key, value in keyed:
        groups[key].append(value)
    return [Row(*key, summarize(groups[key])) for key in sorted(groups)]


def _text(value: float | None) -> str:
    """Write a number with six digits; None and NaN as nothing."""
    return "" if value is None or value != value else f"{value:.6f}"
