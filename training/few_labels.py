"""``python -m vesal.training.few_labels --backbone DIR``: what pre-training is worth with few labels.

Short runs with the first N patients of each set, from nothing and from a pre-trained encoder, the same
network, as many steps and the same seeds; Dice of the averaged weights on all held-out patients, as in
``look.py``. Rows that are there are not run again.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vesal.inference.runtime.machine import available_threads
from vesal.training.__main__ import shelves_of
from vesal.training.ablation import last_values, run_side_by_side

SETS = ("MR_Heart_ACDC", "MR_Prostate", "CT_HeadNeck")
PATIENTS = (5, 20, 0)
"""0: all"""
NOTHING = "nothing"


@dataclass(frozen=True)
class Row:
    """One run."""

    start: str
    """``nothing``, or the name of a folder with an encoder."""
    patients: int
    """Of each set; 0: all."""
    seed: int

    @property
    def name(self) -> str:
        """Of its working folder."""
        return f"{self.start}-{self.patients or 'all'}-{self.seed}"


def rows_of(starts: Sequence[str], patients: Sequence[int], seeds: Sequence[int]) -> list[Row]:
    """Every combination, by the number of patients first."""
    return [Row(start, n, seed) for n in patients for seed in seeds for start in starts]


def command(args: argparse.Namespace, row: Row) -> list[str]:
    """The training command of one row."""
    out = args.work / row.name
    line = [sys.executable, "-m", "vesal.training", "--data", args.data, "--out", out / "weights"]
    line += ["--work", out, "--store", args.store, "--steps", args.steps, "--seed", row.seed]
    line += ["--processes", 1, "--looks", args.looks, "--without", "synthetic"]
    line += ["--only", *args.only]
    line += ["--patients", row.patients] if row.patients else []
    fresh = row.start == NOTHING
    # From nothing it is the same network: that of the first encoder, a SPAD-ViT or nano's.
    start = next(iter(args.backbones)) if fresh else row.start
    line += ["--backbone", args.backbones[start], *(["--fresh"] if fresh else [])]
    return [str(part) for part in line]


def table(found: dict[Row, dict[str, float]], sets: Sequence[str]) -> str:
    """Markdown: a line for each number of patients and start, fine Dice of each set, a mean of all seeds with
    every seed behind it.
    """
    lines = [
        "| " + " | ".join(["patients of a set", "encoder", *sets]) + " |",
        "|" + "---|" * (2 + len(sets)),
    ]
    for patients in dict.fromkeys(row.patients for row in found):
        for start in dict.fromkeys(row.start for row in found):
            values = [found[row] for row in found if (row.start, row.patients) == (start, patients)]
            cells = [_cell([v[f"val {name} fine"] for v in values]) for name in sets]
            lines.append(f"| {patients or 'all'} | {start} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(values: Sequence[float]) -> str:
    every = ", ".join(f"{v:.3f}" for v in values)
    return f"{sum(values) / len(values):.3f} ({every})"


def main() -> None:
    """Parse the command line, run, print the table."""
    parser = argparse.ArgumentParser(prog="python -m vesal.training.few_labels", description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--backbone", type=Path, nargs="+", required=True, help="folders of encoders of one kind"
    )
    parser.add_argument("--work", type=Path, default=Path(".training/few_labels"))
    parser.add_argument("--store", type=Path, default=Path(".training/store"))
    parser.add_argument("--steps", type=int, default=300, help="of each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--patients", type=int, nargs="+", default=list(PATIENTS), help="of a set; 0: all")
    parser.add_argument("--looks", type=int, default=100, help="most held-out volumes of a set")
    parser.add_argument("--only", nargs="+", default=list(SETS))
    parser.add_argument("--side-by-side", type=int, default=available_threads())
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.backbones = {folder.resolve().name: folder for folder in args.backbone}
    # Filled before the first run: two that fill a shelf at once would write over each other.
    shelves_of(argparse.Namespace(**vars(args), without=["synthetic"]))
    rows = rows_of([NOTHING, *args.backbones], args.patients, args.seeds)
    waiting = [row for row in rows if not (args.work / row.name / "weights").exists()]
    run_side_by_side({row.name: command(args, row) for row in waiting}, args.work, args.side_by_side)
    found = {row: last_values(args.work / row.name / "log.csv") for row in rows}
    print(table(found, args.only))
    if args.json:
        content = {
            row.name: {k: v for k, v in values.items() if k.startswith("val ")}
            for row, values in found.items()
        }
        args.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
