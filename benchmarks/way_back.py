"""Labels brought back to the volume, ours and as published: `python -m benchmarks.way_back DATA/val`.

The true mask of every class is sampled on the grids that the rules of Medal S and SAT give its volume, as a
network's result, and brought back both ways; the table has the mean Dice with the truth. What a network gets
wrong is no part of it.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import ROOT
from vesal.evaluation.metrics import dice
from vesal.inference.data.case import Case
from vesal.inference.data.terms import FINE, STAGES
from vesal.inference.families.published.case_rules import CaseRules
from vesal.inference.families.published.labels import PublishedLabels
from vesal.inference.families.published.rules import Rules, read_rules
from vesal.inference.families.published.spacing import plausible_spacing
from vesal.inference.geometry.resample import to_view
from vesal.inference.geometry.tilings import unpadded, without_padding
from vesal.inference.geometry.views import Sides, View, whole
from vesal.inference.stages.label_map import LabelMap
from vesal.training.measure.runs import read_cases

MOST_VOXELS = 3e7
"""Larger volumes and grids are left out."""
SYSTEMS = {"medal-s": (STAGES, None), "sat": ((FINE,), "CT")}
"""Stages, and the only modality that is resampled."""


def main(arguments: list[str] | None = None) -> int:
    """Bring all cases back and print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.way_back", description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path, help="folder with SET/*.npz and labels")
    parser.add_argument("--most", type=int, default=3, help="cases of a set; 0: all")
    options = parser.parse_args(arguments)
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for labelled in read_cases(options.data, options.most):
        modality = labelled.dataset.split("_")[0]
        truth = labelled.truth > 0 if labelled.case.instance else labelled.truth
        for system, stage, view in views(labelled.case, modality, truth):
            maker = PublishedLabels(system == "sat", system == "sat")
            found.setdefault((system, stage), []).extend(brought_back(truth, view, maker))
    print("| grids | targets | ours | published | ours better | worse |\n|---|---|---|---|---|---|")
    for (system, stage), scores in found.items():
        ours, theirs = np.array(scores).T
        counts = f"{np.count_nonzero(ours > theirs)} | {np.count_nonzero(ours < theirs)}"
        print(f"| {system} {stage} | {len(ours)} | {ours.mean():.4f} | {theirs.mean():.4f} | {counts} |")
    return 0


def views(case: Case, modality: str, truth: np.ndarray) -> Iterator[tuple[str, str, View]]:
    """System, stage and view over the whole volume; ``truth`` (D, H, W) tells the number of classes."""
    d, h, w = case.image.shape
    classes = tuple(f"{modality}_{id_}" for id_ in ids_of(truth))
    for system, (stages, only) in SYSTEMS.items():
        if not classes or case.image.size > MOST_VOXELS or only not in (None, modality):
            continue
        rules, spacing = rules_of(system), case.spacing_dhw_mm
        seen = spacing[0], spacing[2], spacing[1]  # the published code reads (x,y,z) as (h,w,d)
        if rules.spacing.fixed is None:
            seen = plausible_spacing((d, h, w), seen, rules.spacing)
        applied = CaseRules(rules, (d, h, w), seen, classes, case.instance, modality)
        for stage in stages:
            view = applied.view(whole((d, h, w)), stage)
            if math.prod(view.shape) <= MOST_VOXELS:
                yield system, stage, view


def rules_of(system: str) -> Rules:
    """The rules of a profile."""
    path = ROOT / "weights" / system / "profile" / "profile.json"
    return read_rules(json.loads(path.read_text(encoding="utf-8"))["rules"])


def ids_of(truth: np.ndarray) -> list[int]:
    """Classes of a label map (D, H, W)."""
    return [int(id_) for id_ in np.unique(truth) if id_]


def brought_back(truth: np.ndarray, view: View, maker: PublishedLabels) -> list[tuple[float, float]]:
    """Dice of each class of ``truth`` (D, H, W), from its mask on ``view``: ours, and as published."""
    ids = ids_of(truth)
    sampled = [without_padding(to_view((truth == id_).view(np.uint8), view), view)[0] for id_ in ids]
    own = unpadded(view)
    ours, theirs = (LabelMap(sides(truth), max(ids)) for _ in range(2))
    ours.add_classes([(id_, partial(sampled.__getitem__, n)) for n, id_ in enumerate(ids)], own, 0.5)
    theirs.put(maker.native_labels(zip(ids, sampled, strict=True), own, 0.5))
    return [(dice(ours.labels == i, truth == i), dice(theirs.labels == i, truth == i)) for i in ids]


def sides(volume: np.ndarray) -> Sides:
    """Its shape."""
    d, h, w = volume.shape
    return d, h, w


if __name__ == "__main__":
    sys.exit(main())
