"""``python -m training.validate --data DIR/val --weights weights/nano``: Dice per target, coarse and final.

Runs the very engine of the container on labelled cases, with the sentences that each file carries, and sets
the means beside what the weights must reach (``floors.json``). ``--write`` puts the mean Dice of each target
into the manifest, so that no figure there is typed by hand, and moves targets that nothing speaks for (no
case, or not above ``--least``) to ``not_covered``: the engine leaves those classes empty and says so.

After a training: once with ``--all --forget --write`` to find out what the weights can do, then again with
``--write``: targets compete for voxels, so those that stayed score a little differently without the others.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np

from inference.engine import Engine
from inference.settings import Settings
from training.coverage import known_targets, write_scores
from training.floors import floors_table
from training.measure.results import about, write_json
from training.measure.runs import covering, key_of, read_cases
from training.scores import Row, not_covered_table, score_case, set_table, table


def validate(
    engine: Engine, data: Path, most: int = 0, real: Path | None = None, everything: bool = False
) -> tuple[list[Row], list[float]]:
    """Rows of all labelled targets, and the seconds of each case.

    ``everything``: ask for what the profile does not cover too, as far as there is a text vector of it.
    """
    rows: list[Row] = []
    seconds: list[float] = []
    for labelled in read_cases(data, most, real):
        asked = [key for key in map(key_of, labelled.prompts) if key]
        found, run = score_case(covering(engine, asked) if everything else engine, labelled)
        rows += found
        seconds.append(run.seconds)
    return rows, seconds


def report(rows: list[Row], seconds: list[float], ran: str) -> str:
    """Markdown: per target, per set, floors, what is not covered, and the time."""
    parts = [table(rows), "## Sets", set_table(rows), "## Floors", floors_table(rows)]
    if any(not row.covered for row in rows):
        parts += ["## Labelled, but not covered by these weights", not_covered_table(rows)]
    parts.append(f"{len(seconds)} cases, {np.mean(seconds):.2f} s a case, {ran}")
    return "\n\n".join(parts)


def main() -> None:
    """Parse the command line, run, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m training.validate", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with DATASET/*.npz")
    parser.add_argument("--weights", type=Path, required=True, help="folder with a manifest.json")
    parser.add_argument("--most", type=int, default=0, help="at most this many cases of a set; 0: all")
    parser.add_argument("--real", type=Path, help="further cases: folder with imgs/ and gts/")
    parser.add_argument("--all", action="store_true", help="ask for targets that are not covered, too")
    parser.add_argument("--write", action="store_true", help="write the scores into the manifest")
    parser.add_argument("--forget", action="store_true", help="with --write: drop scores of earlier weights")
    parser.add_argument("--least", type=float, default=0.5, help="mean Dice that a covered target exceeds")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    args = parser.parse_args()
    engine = Engine.open(Settings(weights=str(args.weights.resolve())))
    if args.all:
        engine = covering(engine, known_targets(args.weights))
    rows, seconds = validate(engine, args.data, args.most, args.real, args.all)
    print(report(rows, seconds, f"{engine.runtime.name} {engine.runtime.precision}"))
    if args.json:
        content = {"cases": len(seconds), "seconds": float(np.mean(seconds)), "most": args.most}
        write_json(args.json, {**about(engine), **content, "rows": [asdict(row) for row in rows]})
    if args.write:
        write_scores(args.weights, rows, args.least, args.forget)


if __name__ == "__main__":
    main()
