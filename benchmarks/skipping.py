"""Windows that cannot hold anything: how many are skipped, and that no Dice is lost by it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
from msgspec import structs

from benchmarks.tables import Row
from vesal.evaluation.metrics import dice
from vesal.inference.api import Model, load
from vesal.inference.io.formats import read_case
from vesal.inference.planning.profile import Profile
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages.view_task import ViewTask

MOST_LOST = 1e-4
"""Mean Dice that skipping may cost: less than a table shows. In a window skipped because the coarse stage
saw next to nothing there, the network might have found a voxel."""
FINER = 12
"""Windows of a fine view in the second pass: with the default rules most views are a single window, where
nothing can be skipped."""


def rows(cases: list[Path], weights: Path, finer: int = FINER) -> list[Row]:
    """Default rules, then views cut into more windows; each with and without skipping."""
    logging.getLogger("vesal").setLevel(logging.ERROR)
    model = load(str(weights.resolve()))
    found = _compare("default rules", cases, model)
    finer_profile = with_windows(model.profile, finer)
    cut = model.with_profile(stages=finer_profile.stages, overrides=finer_profile.overrides)
    return found + _compare(f"views of {finer} windows in both stages", cases, cut)


def with_windows(profile: Profile, count: int) -> Profile:
    """The profile with so many smaller windows in both stages of every target: the grid stays as it is."""

    def cut(rules: tuple[StageRule, ...]) -> tuple[StageRule, ...]:
        return tuple(
            structs.replace(
                rule,
                window_voxels=max(rule.layout.min_voxels, rule.window_voxels // count),
                max_windows=rule.max_windows * count,
            )
            for rule in rules
        )

    overrides = tuple(replace(o, stages=cut(o.stages)) for o in profile.overrides)
    return replace(profile, stages=cut(profile.stages), overrides=overrides)


def _compare(what: str, cases: list[Path], model: Model) -> list[Row]:
    skipped = ran = without = 0
    gains: list[float] = []
    for case in cases:
        with_skipping, counts = _segment(case, model)
        with nothing_idle():
            without_skipping, all_counts = _segment(case, model)
        ran, skipped = ran + counts[0], skipped + counts[1]
        without += all_counts[0]
        gains += [a - b for a, b in zip(with_skipping, without_skipping, strict=True)]
    note = f"{len(cases)} cases; {ran} windows run, {without} without skipping"
    loss = -float(np.mean(gains)) if gains else 0.0
    worst = -min(gains, default=0.0)
    share = 1e2 * skipped / max(1, ran + skipped)
    return [
        Row(f"windows skipped, {what}", share, "%", note=note),
        Row(
            f"mean Dice lost by skipping, {what}",
            loss,
            "",
            limit=MOST_LOST,
            note=f"{len(gains)} targets; the most that one loses is {worst:.4f}",
        ),
    ]


def _segment(case: Path, model: Model) -> tuple[list[float], tuple[int, int]]:
    """Dice of each covered prompt, and windows run and skipped."""
    read = read_case(case)
    prompts, _ = model.understand(read)
    told = model.segment_case(read, prompts)
    with np.load(_truth_of(case)) as archive:
        truth = archive["gts"]
    ids = [id_ for id_, outcome in told.prompts.items() if outcome.covered]
    if read.instance:
        scores = [dice(told.labels > 0, truth > 0)] if ids else []
    else:
        scores = [dice(told.labels == id_, truth == id_) for id_ in ids]
    return scores, (sum(s.windows for s in told.stages), sum(s.skipped for s in told.stages))


def _truth_of(case: Path) -> Path:
    """The file with ``gts``: the case's own, or the one in the folder beside its folder."""
    beside = case.parent.parent / "gts" / case.name
    return beside if beside.exists() else case


@contextmanager
def nothing_idle() -> Iterator[None]:
    """Run every window."""

    def never(task: ViewTask, image: np.ndarray, prompt: np.ndarray | None) -> bool:
        return False

    with mock.patch.object(ViewTask, "skips", never):
        yield
