"""``python -m training --data DIR --out weights/nano --hours H``: train and export the default weights."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from inference.processor import available_threads
from training.bank import build_bank
from training.export import export
from training.feeder import Feeder
from training.loop import Plan, Trainer, train
from training.parallel import join
from training.store import read_folder, read_rules


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/DATASET/*.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights to write")
    parser.add_argument(
        "--work", type=Path, default=Path(".training"), help="checkpoints and log; resumed if there"
    )
    parser.add_argument("--hours", type=float, default=1.25, help="wall time of the training itself")
    parser.add_argument("--processes", type=int, default=available_threads(), help="one per core")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.work.mkdir(parents=True, exist_ok=True)
    plan = Plan(hours=args.hours, seed=args.seed)
    rules = read_rules()
    bank = build_bank(args.work)
    group, others = join(args.processes)
    trainer = Trainer(plan, bank, args.work, group)
    volumes = read_folder(args.data / "train", rules)
    logging.info("%d volumes, precision %s, from step %d", len(volumes), trainer.precision, trainer.step)
    seed = plan.seed + 1000 * trainer.step + group.rank  # a resumed run goes on with other draws
    feeder = Feeder(volumes, rules, plan.coarse_voxels, plan.fine_voxels, seed)
    train(trainer, feeder)
    group.leave()
    if group.rank == 0:
        export(args.work, args.out)
    for other in others:
        other.wait()


if __name__ == "__main__":
    main()
