"""Which targets a manifest lists as covered: those that a held-out patient speaks for."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vesal.inference.data.terms import SIDES
from vesal.inference.planning.weights_folder import MANIFEST
from vesal.training.augment import MIRRORED, TURNED
from vesal.training.store import SetRule, TargetKey, Volume, thickest_slices

if TYPE_CHECKING:  # what measures needs the engine, which a training does not
    from vesal.training.scores import Row


def known_targets(folder: Path) -> list[TargetKey]:
    """Everything that the manifest of ``folder`` names, covered or not."""
    content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    return [_key(entry) for entry in (*content["targets"], *content.get("not_covered", ()))]


SEEN_TWICE = ("MR_LeftAtrium_native",)
"""Further cases whose patient is among the held-out ones as well: no second opinion on a target."""


LESION_F1 = 0.3
"""Instance F1 above which a lesion is covered, whatever its Dice: finding each of many small ones is what
counts there.
"""


def write_scores(folder: Path, rows: Sequence[Row], least: float, forget: bool = False) -> None:
    """Put the mean final Dice of each target into the manifest and cover those above ``least``.

    Args:
        folder: with the manifest.
        rows: of all labelled targets; one that came out empty because it is not covered is no measurement.
        least: Dice that a covered target must exceed; a lesion of instance cases may exceed ``LESION_F1``
            instead.
        forget: a target that ``rows`` do not measure loses what an earlier look said, as after a training;
            else it keeps it.

    Targets that the data label and the manifest does not name are added. One without a side whose two
    sides are named is not: the engine runs it as these.
    """
    measured: dict[TargetKey, list[float]] = defaultdict(list)
    counted: dict[TargetKey, list[float]] = defaultdict(list)
    lesions = _lesions()
    for row in rows:
        if row.dataset in SEEN_TWICE:
            continue
        scores = measured[row.concept, row.side, row.modality]
        if row.covered:
            scores.append(row.final)
            if row.concept in lesions and not np.isnan(row.f1):
                counted[row.concept, row.side, row.modality].append(row.f1)
    path = folder / MANIFEST
    content = json.loads(path.read_text(encoding="utf-8"))
    known: list[dict[str, Any]] = [*content["targets"], *content.get("not_covered", ())]
    named = {_key(entry) for entry in known}
    for concept, side, modality in measured:
        sides = side is None and {(concept, s, modality) for s in SIDES} <= named
        if (concept, side, modality) not in named and not sides:
            known.append({"concept": concept, "side": side, "modality": modality, "dsc": None})
    for entry in known:
        if found := measured.get(_key(entry)):
            entry["dsc"] = round(float(np.mean(found)), 3)
        elif forget:
            entry["dsc"] = None
    found_apart = {key for key, scores in counted.items() if np.mean(scores) > LESION_F1}
    covered = [e for e in known if (e["dsc"] or 0) > least or _key(e) in found_apart]
    content["targets"], content["not_covered"] = covered, [e for e in known if e not in covered]
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _lesions() -> set[str]:
    """Concepts of the vocabulary that are lesions."""
    from vesal.inference.prompts.vocabulary import load_vocabulary  # its libraries a training does without

    return {name for name, kind in load_vocabulary().kinds.items() if kind == "lesion"}


def tell_shown(folder: Path, volumes: Sequence[Volume], rules: Mapping[str, SetRule]) -> None:
    """Say in the manifest how a training showed each target: whether half turned about any axis, in all its
    sets; whether mirrored along one axis under its own name, in one of its sets; and the thickest slices of
    its volumes as they were scanned.
    """
    turned: dict[TargetKey, bool] = {}
    mirrored: set[TargetKey] = set()
    thickest_mm = thickest_slices(volumes)
    for volume in volumes:
        flips = rules[volume.dataset].flips
        free = flips in TURNED
        for target in volume.targets:
            key = target.concept, target.side, target.modality
            turned[key] = free and turned.get(key, True)
            if flips == MIRRORED:
                mirrored.add(key)
    path = folder / MANIFEST
    content = json.loads(path.read_text(encoding="utf-8"))
    for entry in (*content["targets"], *content.get("not_covered", ())):
        key = _key(entry)
        entry["any_orientation"] = turned.get(key, False)
        entry["mirrored"] = key in mirrored
        entry["thickest_slice_mm"] = round(thickest_mm[key], 2) if key in thickest_mm else None
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _key(entry: dict[str, Any]) -> TargetKey:
    return entry["concept"], entry["side"], entry["modality"]
