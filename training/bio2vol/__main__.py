"""``python -m vesal.training.bio2vol --data DIR``: tables 3 and 4 of Bio2Vol on a small slice network.

One network is trained from nothing without any of it. Every row goes on from there for the same number of
steps on the same batches, and is measured on held-out volumes. What is there already is not run again.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from vesal.networks.small_slice import SmallSlice
from vesal.training.bank import read_bank
from vesal.training.bio2vol.draws import by_set
from vesal.training.bio2vol.learn import RATE, learn
from vesal.training.bio2vol.rows import ROWS, UNTRAINED, Row
from vesal.training.bio2vol.score import Scores, means, score
from vesal.training.bio2vol.slices import Sampled, read_sampled
from vesal.training.bio2vol.tables import TABLE_3, TABLE_4, tables

log = logging.getLogger("vesal")
BANK = Path(__file__).resolve().parent.parent.parent / "weights" / "nano" / "bank.npz"
START, MODEL, SCORES = "start", "model.pt", "scores.json"


class Runs:
    """All runs in one working folder: ``start/`` and ``SEED/ROW/``."""

    def __init__(self, args: argparse.Namespace) -> None:
        """Read the volumes."""
        self.args = args
        bank = read_bank(BANK)
        self.groups = by_set(read_sampled(args.data / "train", bank))
        self.held_out: Sequence[Sampled] = read_sampled(args.data / "val", bank, args.most)
        log.info("%d training volumes, %d held out", sum(map(len, self.groups.values())), len(self.held_out))

    def start(self) -> dict[str, list[Scores]]:
        """Train the first network; its scores, and those of it with other slices looked at untrained."""
        folder = self.args.start or self.args.work / START
        model = self._train(folder, Row(), self.args.start_steps, RATE, 0, None)
        rows = {START: Row(), **{name: ROWS[name] for name in UNTRAINED if name in self.args.rows}}
        scores = self.args.work / START
        return {name: [self._score(scores / name, model, row)] for name, row in rows.items()}

    def row(self, name: str, seed: int) -> Scores:
        """Fine-tune one row and score it."""
        folder, row = self.args.work / str(seed) / name, ROWS[name]
        begin = (self.args.start or self.args.work / START) / MODEL
        # Other batches than those of the first training.
        model = self._train(folder, row, self.args.steps, RATE, 1000 + seed, begin)
        return self._score(folder, model, row)

    def _train(
        self, folder: Path, row: Row, steps: int, rate: float, seed: int, begin: Path | None
    ) -> SmallSlice:
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(seed)
        model = SmallSlice(row.cross)
        if (folder / MODEL).exists():
            begin = folder / MODEL
        if begin:
            model.load_state_dict(torch.load(begin, weights_only=True))
            if self.args.places and begin != folder / MODEL:
                model.take_places()
            model.is_placed = self.args.places
        if begin != folder / MODEL:
            (folder / "log.csv").unlink(missing_ok=True)
            hidden = self.args.hidden if begin else 0.0
            learn(model, self.groups, row, steps, rate, seed, folder, hidden)
            torch.save(model.state_dict(), folder / MODEL)
        return model.eval()

    def _score(self, folder: Path, model: SmallSlice, row: Row) -> Scores:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / SCORES
        if not path.exists():
            model.cross = row.cross
            path.write_text(json.dumps(score(model, self.held_out, row.rate, self.args.hidden)) + "\n")
        found: Scores = json.loads(path.read_text())
        log.info("%s: %s", folder, {key: round(value, 2) for key, value in means(found, "dice").items()})
        return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m vesal.training.bio2vol", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/SET and val/SET")
    parser.add_argument("--work", type=Path, default=Path(".training/bio2vol"))
    parser.add_argument("--start-steps", type=int, default=1400, help="of the first training")
    parser.add_argument("--steps", type=int, default=150, help="of each row")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", default=[*TABLE_3, *TABLE_4], choices=ROWS)
    parser.add_argument("--most", type=int, help="held-out volumes of a set; default: all")
    parser.add_argument(
        "--start", type=Path, help="folder `start` of an earlier run to go on from; default: in WORK"
    )
    parser.add_argument(
        "--hidden", type=float, default=0.0, help="share of slices that rows are shown black, in val too"
    )
    parser.add_argument(
        "--places", action="store_true", help="rows get positions in queries and keys of the pixel decoder"
    )
    parser.add_argument("--json", type=Path, help="where the scores of all runs are written to")
    args = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    # The order of additions, and so the result, depends on the number of threads.
    torch.set_num_threads(1)
    runs = Runs(args)
    begun = runs.start()
    measured: dict[str, list[Scores]] = {row: [] for row in args.rows}
    for seed in args.seeds:
        for row in measured:
            measured[row].append(runs.row(row, seed))
    print(tables(measured, begun))
    if args.json:
        args.json.write_text(json.dumps(_means({"begun": begun, "tuned": measured}), indent=1) + "\n")


def _means(found: Mapping[str, Mapping[str, Sequence[Scores]]]) -> dict:
    """Means in percent in the place of the scores of single volumes."""
    return {
        kind: {
            row: [{m: {k: round(v, 2) for k, v in means(s, m).items()} for m in s} for s in seeds]
            for row, seeds in rows.items()
        }
        for kind, rows in found.items()
    }


if __name__ == "__main__":
    main()
