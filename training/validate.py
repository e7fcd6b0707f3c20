"""``python -m training.validate --data DIR/val --weights weights/nano``: Dice per target, coarse and final.

Runs the very engine of the container on labelled cases, with the sentences that each file carries.
``--write`` puts the mean Dice of each target into the manifest, so that no figure there is typed by hand, and
moves targets that nothing speaks for (no case, or below ``--least``) to ``not_covered``: the engine leaves
those classes empty and says so.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from evaluation.metrics import dice
from inference.budget import Clock, case_budget_s
from inference.case import read_case
from inference.engine import Engine
from inference.profile import MANIFEST
from inference.prompts import Prompt, parse_prompts
from inference.settings import Settings


@dataclass(frozen=True)
class Row:
    """One target of one case."""

    dataset: str
    target: str
    concept: str
    side: str | None
    modality: str
    coarse: float
    final: float


def score_case(engine: Engine, path: Path, truth_path: Path | None = None) -> tuple[list[Row], float]:
    """Dice of every covered, present target of one case, and the seconds that the engine took.

    ``gts`` is read from ``truth_path``, or from the case itself.
    """
    case = read_case(path)
    with np.load(truth_path or path) as archive:
        truth = archive["gts"]
    prompts, _ = parse_prompts(case.sentences, name=case.name, image=case.image)
    first: list[np.ndarray] = []
    started = time.monotonic()
    clock = Clock(case_budget_s(len(prompts)), started)
    result = engine.segment(case, prompts, clock, lambda labels: first.append(labels))
    seconds = time.monotonic() - started
    final, coarse = result.labels, first[0] if first else np.zeros_like(result.labels)
    rows = []
    for p in prompts:
        want = truth > 0 if case.instance else truth == p.id
        if not (p.concept and p.target and result.prompts[p.id].covered and want.any()):
            continue
        pair = [labels > 0 if case.instance else labels == p.id for labels in (coarse, final)]
        scores = [float(dice(got, want)) for got in pair]
        dataset = case.name if truth_path else path.parent.name
        rows.append(Row(dataset, p.target, *_asked(engine, p), p.modality, *scores))
    return rows, seconds


def _asked(engine: Engine, prompt: Prompt) -> tuple[str, str | None]:
    """Concept and side that the network was asked for: the prompt's own, or what stands in for it."""
    assert prompt.concept is not None
    if not engine.profile.covers(prompt.concept, prompt.side, prompt.modality):
        for stand_in in engine.profile.stand_ins:
            if (stand_in.modality, stand_in.kind) == (prompt.modality, prompt.kind):
                return stand_in.concept, None
    return prompt.concept, prompt.side


def table(rows: list[Row]) -> str:
    """Markdown: mean Dice per set and target."""
    by: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by[row.dataset, row.target].append(row)
    lines = ["| set | target | cases | coarse | final |", "|---|---|---|---|---|"]
    for (dataset, target), group in sorted(by.items()):
        coarse, final = (np.mean([getattr(r, key) for r in group]) for key in ("coarse", "final"))
        lines.append(f"| {dataset} | {target} | {len(group)} | {coarse:.3f} | {final:.3f} |")
    return "\n".join(lines)


def write_scores(folder: Path, rows: list[Row], least: float) -> None:
    """Put the mean final Dice of each target into the manifest and list those above ``least`` as covered."""
    by: dict[tuple[str, str | None, str], list[float]] = defaultdict(list)
    for row in rows:
        by[row.concept, row.side, row.modality].append(row.final)
    path = folder / MANIFEST
    content = json.loads(path.read_text(encoding="utf-8"))
    known = [*content["targets"], *content.get("not_covered", ())]
    for target in known:
        scores = by.get((target["concept"], target["side"], target["modality"]))
        if scores:  # else what an earlier look said stays
            target["dsc"] = round(float(np.mean(scores)), 3)
    content["targets"] = [t for t in known if (t["dsc"] or 0) >= least]
    content["not_covered"] = [t for t in known if (t["dsc"] or 0) < least]
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def find_cases(data: Path, most: int, real: Path | None) -> list[tuple[Path, Path | None]]:
    """Labelled cases of ``data/SET`` (at most so many of a set), then those of ``real/imgs`` with
    ``real/gts``.
    """
    found: list[tuple[Path, Path | None]] = []
    for folder in sorted(p for p in data.iterdir() if p.is_dir()):
        cases = sorted(folder.glob("*.npz"))
        found += [(path, None) for path in (cases[:most] if most else cases)]
    if real is not None:
        found += [(path, real / "gts" / path.name) for path in sorted((real / "imgs").glob("*.npz"))]
    return found


def main() -> None:
    """Parse the command line, run, print the table."""
    parser = argparse.ArgumentParser(prog="python -m training.validate", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with DATASET/*.npz")
    parser.add_argument("--weights", type=Path, required=True, help="folder with a manifest.json")
    parser.add_argument("--most", type=int, default=0, help="at most this many cases of a set; 0: all")
    parser.add_argument("--real", type=Path, help="further cases: folder with imgs/ and gts/")
    parser.add_argument("--write", action="store_true", help="write the scores into the manifest")
    parser.add_argument("--least", type=float, default=0.2, help="mean Dice from which a target is covered")
    args = parser.parse_args()
    engine = Engine.open(Settings(weights=str(args.weights.resolve())))
    rows: list[Row] = []
    seconds: list[float] = []
    for path, truth in tqdm(find_cases(args.data, args.most, args.real), disable=None):
        found, spent = score_case(engine, path, truth)
        rows += found
        seconds.append(spent)
    print(table(rows))
    ran = f"{engine.runtime.name} {engine.runtime.precision}"
    print(f"\n{len(seconds)} cases, {np.mean(seconds):.2f} s a case, {ran}")
    if args.write:
        write_scores(args.weights, rows, args.least)


if __name__ == "__main__":
    main()
