"""Volumes of the same target over the cases of a run, and which of them stand out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vesal.inference.data.results import CaseReport

MIN_CASES = 5
"""Fewer volumes have no outliers."""
MAX_Z = 3.5
"""Robust z of an outlier, at least (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993)."""
MIN_SPREAD = 0.05
"""Of the logarithms, at least: beside nearly equal volumes one that differs by percents would be marked."""
RULE = (
    f"A volume is marked where its robust z is above {MAX_Z} or below -{MAX_Z}, among at least {MIN_CASES} "
    "volumes of that target: z = 0.6745 (x - median) / MAD, with x the logarithm of the volume and MAD the "
    f"median distance from the median (Iglewicz and Hoaglin 1993); MAD / 0.6745 is taken as {MIN_SPREAD} at "
    "least. Empty results are counted beside."
)


@dataclass(frozen=True)
class TargetVolumes:
    """One target over the cases: volumes above 0 ml with the number of the case each is from."""

    name: str
    cases: tuple[int, ...]
    volumes_ml: tuple[float, ...]
    z: tuple[float, ...]
    empty: tuple[int, ...]
    """Cases in which a covered target was not found."""

    @property
    def outliers(self) -> tuple[bool, ...]:
        """Which volumes stand out."""
        return tuple(abs(z) > MAX_Z for z in self.z)


def volumes_of(cases: Sequence[CaseReport]) -> list[TargetVolumes]:
    """The targets of a run by name; a case's prompts with one target count each."""
    found: dict[str, list[tuple[int, float]]] = {}
    for number, case in enumerate(cases):
        for prompt in case.prompts:
            if prompt.volume_ml is not None and prompt.covered is not False:
                found.setdefault(prompt.target or prompt.text, []).append((number, prompt.volume_ml))
    return [_volumes(name, found[name]) for name in sorted(found)]


def robust_z(volumes: Sequence[float]) -> tuple[float, ...]:
    """Robust z of each volume's logarithm, see ``RULE``; 0 for all where they are too few."""
    if len(volumes) < MIN_CASES:
        return (0.0,) * len(volumes)
    logs = np.log(np.asarray(volumes, float))
    away = logs - np.median(logs)
    return tuple((away / max(float(np.median(np.abs(away))) / 0.6745, MIN_SPREAD)).tolist())


def _volumes(name: str, found: Sequence[tuple[int, float]]) -> TargetVolumes:
    filled = [(case, volume) for case, volume in found if volume > 0]
    cases = tuple(case for case, _ in filled)
    volumes = tuple(volume for _, volume in filled)
    empty = tuple(case for case, volume in found if volume <= 0)
    return TargetVolumes(name, cases, volumes, robust_z(volumes), empty)
