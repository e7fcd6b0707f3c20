"""``python -m vesal.training.ablation``: the training ideas, each switched off once; same budget, same seed.

Every row is a short run of its own in one process with one thread, from nothing or all from the same weights,
so that the table says what an idea changes within that time and not what a whole training without it would
come to. Runs go side by side on as many cores as there are.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from vesal.inference.runtime.machine import available_threads
from vesal.training.__main__ import shelves_of
from vesal.training.ideas import Ideas
from vesal.training.plan import ending_s

SETS = ("CT_HeadNeck", "MR_Heart_ACDC", "MR_LeftAtrium", "US_Prostate")
"""With and without sides, thick slices and thin, CT, MR and ultrasound."""
ROWS = ("everything", *(f.name for f in fields(Ideas) if f.name not in ("synthetic",)))


def command(args: argparse.Namespace, row: str) -> list[str]:
    """The training command of one row."""
    out = args.work / row
    hours = (args.minutes * 60 + ending_s(args.looks * len(args.only))) / 3600
    line = [
        sys.executable,
        "-m",
        "vesal.training",
        "--data",
        args.data,
        "--out",
        out / "weights",
    ]
    line += ["--work", out, "--store", args.store, "--hours", hours, "--seed", args.seed]
    line += [] if args.start is None else ["--start", args.start]
    line += [] if args.rate is None else ["--rate", args.rate]
    line += ["--processes", 1, "--looks", args.looks, "--only", *args.only]
    return [str(part) for part in (*line, *(() if row == "everything" else ("--without", row)))]


def run_all(args: argparse.Namespace) -> None:
    """Run what is not there yet, so many side by side as there are cores."""
    # Filled before the first run: two that fill a shelf at once would write over each other.
    shelves_of(argparse.Namespace(**vars(args), without=[]))
    waiting = [row for row in args.rows if not (args.work / row / "weights").exists()]
    run_side_by_side({row: command(args, row) for row in waiting}, args.work, args.side_by_side)


def run_side_by_side(commands: Mapping[str, Sequence[str]], work: Path, at_once: int) -> None:
    """Run trainings of one thread each, so many at once; what each says goes to ``work/NAME/out.txt``.

    Raises RuntimeError where one of them fails.
    """
    waiting = dict(commands)
    running: list[subprocess.Popen[bytes]] = []
    while waiting or running:
        while waiting and len(running) < at_once:
            name = next(iter(waiting))
            (work / name).mkdir(parents=True, exist_ok=True)
            with (work / name / "out.txt").open("wb") as out:
                env = os.environ | {"OMP_NUM_THREADS": "1"}
                running.append(subprocess.Popen(waiting.pop(name), stdout=out, stderr=out, env=env))
        running[0].wait()
        if code := running.pop(0).returncode:
            raise RuntimeError(f"a run ended with code {code}; see out.txt in the folders of {work}")


def last_values(log: Path) -> dict[str, float]:
    """The last value of each key of a run's log."""
    with log.open(newline="") as handle:
        return {row["key"]: float(row["value"]) for row in csv.DictReader(handle)}


def table(found: dict[str, dict[str, float]], sets: Sequence[str]) -> str:
    """Markdown: a row per run, coarse and fine Dice on held-out volumes per set, and the steps made."""
    head = ["without", *(f"{s} {stage}" for s in sets for stage in ("coarse", "fine")), "mean fine", "steps"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row, values in found.items():
        scores = [values[f"val {s} {stage}"] for s in sets for stage in ("coarse", "fine")]
        mean = sum(scores[1::2]) / len(sets)
        name = "(nothing)" if row == "everything" else row
        cells = [name, *(f"{v:.3f}" for v in scores), f"{mean:.3f}", f"{values['steps']:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def read_rows(work: Path, rows: Sequence[str]) -> dict[str, dict[str, float]]:
    """Last log values of each run, with its ``steps``."""
    found = {}
    for row in rows:
        log = work / row / "log.csv"
        with log.open(newline="") as handle:
            steps = max(int(r["step"]) for r in csv.DictReader(handle))
        found[row] = last_values(log) | {"steps": steps}
    return found


def main() -> None:
    """Parse the command line, run, print the table."""
    parser = argparse.ArgumentParser(prog="python -m vesal.training.ablation", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--start", type=Path, help="weights that all begin from; default: from nothing")
    parser.add_argument("--work", type=Path, default=Path(".training/ablation"))
    parser.add_argument("--store", type=Path, default=Path(".training/store"))
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="wall time of each run up to its last step"
    )
    parser.add_argument("--rate", type=float, help="peak learning rate; default: that of the training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--looks", type=int, default=8, help="held-out volumes of a set")
    parser.add_argument("--only", nargs="+", default=list(SETS))
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=ROWS)
    parser.add_argument("--side-by-side", type=int, default=available_threads())
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    run_all(args)
    found = read_rows(args.work, args.rows)
    print(table(found, args.only))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
