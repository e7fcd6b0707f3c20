"""``python -m vesal.training.average RUN RUN --out weights/nano``: export the mean of several runs' weights.

Runs that begin from one another stay close enough for the mean of their weights to be a network, which tends
to keep what each of them is best at (Wortsman et al. 2022, model soups).
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from vesal.training.export import CHECKPOINT, export
from vesal.training.warm import read_weights


def weights_of(folder: Path) -> dict[str, Tensor]:
    """The averaged weights of a run's working folder, or those of exported weights."""
    if (folder / CHECKPOINT).exists():
        averaged: dict[str, Tensor] = torch.load(folder / CHECKPOINT, weights_only=True)["average"]
        return averaged
    return read_weights(folder)


def mean_of_runs(folders: Sequence[Path], shares: Sequence[float] = ()) -> dict[str, Tensor]:
    """The mean of the weights of runs, float32; every run counts as much as its share, or all the same.

    Raises:
        ValueError: their tensors differ in name or shape (runs of different networks), or there are not as
            many shares as runs.
    """
    if len(shares or folders) != len(folders):
        raise ValueError(f"{len(shares)} shares for {len(folders)} runs; give one for each, or none")
    total = sum(shares) if shares else float(len(folders))
    mean: dict[str, Tensor] = {}
    for folder, share in zip(folders, shares or [1.0] * len(folders), strict=True):
        theirs = weights_of(folder)
        if mean and {n: v.shape for n, v in theirs.items()} != {n: v.shape for n, v in mean.items()}:
            raise ValueError(f"{folder} and {folders[0]} hold different networks; give runs of the same one")
        added = {name: value.double() * (share / total) for name, value in theirs.items()}
        mean = {name: mean[name] + value for name, value in added.items()} if mean else added
    return {name: value.float() for name, value in mean.items()}


def main() -> None:
    """Parse the command line, average, export."""
    parser = argparse.ArgumentParser(prog="python -m vesal.training.average", description=__doc__)
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        help="working folders of trainings, or folders of weights; a training first",
    )
    parser.add_argument(
        "--shares", type=float, nargs="+", default=[], help="how much each counts; else the same"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights to write")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bank.npz").write_bytes((args.runs[0] / "bank.npz").read_bytes())
        torch.save({"average": mean_of_runs(args.runs, args.shares)}, folder / CHECKPOINT)
        export(folder, args.out)


if __name__ == "__main__":
    main()
