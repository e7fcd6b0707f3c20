"""``python -m vesal.training --data DIR --out weights/nano --hours H``: train and export the default weights.

With ``--steps N`` in place of the hours the clock decides nothing: on a processor of the same kind the same
command, with as many processes, gives the same weights to the bit, also if it was interrupted; on another
processor it learns as much.
"""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

from vesal.inference.runtime.machine import available_threads
from vesal.inference.timing.clock import process_start_monotonic
from vesal.networks.nano import WIDTHS
from vesal.training import recoloured, smoothed
from vesal.training.backbone import begin_from, begin_from_vit, read_vit
from vesal.training.bank import build_bank
from vesal.training.coverage import mark_turned
from vesal.training.curves import plot_curves
from vesal.training.export import export
from vesal.training.feeder import Feeder
from vesal.training.ideas import Ideas
from vesal.training.look import look_at
from vesal.training.loop import CHECKPOINT, Trainer, train
from vesal.training.parallel import is_first, join
from vesal.training.plan import Plan, ending_s
from vesal.training.shelf import files, fill, read
from vesal.training.store import find_volumes, learnt, of_patients, read_rules, without_patients
from vesal.training.synthetic import synthetic_source
from vesal.training.vit import export_vit


def main() -> None:
    """Parse the command line and run."""
    started = process_start_monotonic()
    parser = argparse.ArgumentParser(prog="python -m vesal.training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/DATASET/*.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights to write")
    parser.add_argument(
        "--work", type=Path, default=Path(".training"), help="checkpoints and log; resumed if there"
    )
    parser.add_argument("--store", type=Path, help="unpacked volumes; default: WORK/store")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--hours", type=float, help="wall time of the whole command; default: 1.25")
    length.add_argument("--steps", type=int, help="length in steps instead, whatever time they take")
    parser.add_argument("--processes", type=int, default=available_threads(), help="one per core")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--start", type=Path, help="folder of exported weights to begin from; narrower ones are widened"
    )
    parser.add_argument(
        "--backbone",
        type=Path,
        help="folder of a pre-trained encoder to begin from; with a SPAD-ViT in it the network is on that",
    )
    parser.add_argument(
        "--widths", type=int, nargs=4, default=WIDTHS, metavar="CHANNELS", help="of the network's four levels"
    )
    parser.add_argument("--rate", type=float, default=Plan.rate, help="peak learning rate")
    parser.add_argument("--without", nargs="+", default=[], metavar="IDEA", help="see training/ideas.py")
    parser.add_argument("--only", nargs="+", metavar="SET", help="train on these sets alone")
    parser.add_argument(
        "--patients", type=int, metavar="N", help="train on at most so many patients of a set; default: all"
    )
    parser.add_argument(
        "--looks", type=int, default=3, help="validation cases of a set; 0: none are looked at"
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.work.mkdir(parents=True, exist_ok=True)
    ideas = Ideas().without(args.without)
    try:
        vit = read_vit(args.backbone) if args.backbone else None
        plan = Plan(
            hours=1.25 if args.hours is None and args.steps is None else args.hours or 0.0,
            steps=args.steps or 0,
            seed=args.seed,
            widths=tuple(args.widths),
            backbone=vit.sizes if vit else None,
            rate=args.rate,
            ideas=ideas,
        )
    except ValueError as error:
        parser.error(str(error))
    rules = {n: r for n, r in learnt(read_rules()).items() if not args.only or n in args.only}
    bank = build_bank(args.work, args.start)
    shelves = shelves_of(args)
    held_out = [v for shelf in shelves["val"] for v in read(shelf, rules)]
    plan = replace(plan, ending_s=ending_s(len(held_out)))
    if is_first() and not (args.work / CHECKPOINT).exists():
        try:
            plan.check_time(time.monotonic() - started)
        except ValueError as error:
            parser.error(str(error))
    group, others = join(args.processes)
    trainer = Trainer(plan, bank, args.work, group, args.start)
    if vit and not trainer.step:
        begin_from_vit(trainer, vit)
    elif args.backbone and not trainer.step:
        begin_from(trainer, args.backbone)
    volumes = [v for shelf in shelves["train"] for v in read(shelf, rules)]
    volumes = volumes if args.patients is None else of_patients(volumes, args.patients)
    logging.info("%d volumes, precision %s, from step %d", len(volumes), trainer.precision, trainer.step)
    trainer.begin(time.monotonic() - started)
    # By the clock a run that goes on draws other views: one of these may be what ended it.
    seed = plan.seed if plan.steps else plan.seed + 1000 * trainer.step
    feeder = Feeder(
        volumes,
        rules,
        plan.coarse_voxels,
        plan.fine_voxels,
        seed,
        group.rank,
        ideas,
        trainer.schedule,
        first=trainer.step * plan.pairs,
    )
    train(trainer, feeder, partial(look_at, volumes=held_out) if held_out else None)
    group.leave()
    if group.rank == 0:
        if vit:
            export_vit(args.work, args.out, plan)
        else:
            export(args.work, args.out)
        mark_turned(args.out, volumes, rules)
        plot_curves(args.work, args.work / "curves.png")
    for other in others:
        other.wait()


def shelves_of(args: argparse.Namespace) -> dict[str, list[Path]]:
    """Folders of unpacked volumes to train on and to look at; filled before other processes start.

    Nothing of a patient who is looked at is trained on, also if the split of the data were by file and let
    one modality of a patient stand in ``train`` and another in ``val``.
    """
    base, rules = args.store or args.work / "store", learnt(read_rules())
    shelves: dict[str, list[Path]] = {"train": [base / "train"], "val": []}
    held_out = sorted((args.data / "val").glob("*/*.npz"))
    paths = without_patients(find_volumes(args.data / "train", rules), held_out)
    sources = {base / "train": lambda: files(paths)}
    if (args.data / "labelmaps").is_dir() and "synthetic" not in args.without:
        shelves["train"].append(base / "synthetic")
        sources[base / "synthetic"] = lambda: synthetic_source(args.data / "labelmaps")
    for name, maker in {"smoothed": smoothed, "recoloured": recoloured}.items():
        known = [path for path in paths if path.parent.name == maker.MADE_OF]
        if known and "synthetic" not in args.without:
            shelves["train"].append(base / name)
            sources[base / name] = partial(maker.source, known)
    if args.looks and (args.data / "val").is_dir():
        shelves["val"].append(base / f"val{args.looks}")
        sources[shelves["val"][0]] = lambda: files(find_volumes(args.data / "val", rules, args.looks))
    if is_first():
        for folder, source in sources.items():
            fill(folder, source())
    return shelves


if __name__ == "__main__":
    main()
