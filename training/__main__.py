"""``python -m vesal.training --data DIR --out weights/nano --hours H``: train and export the default weights.

With ``--steps N`` in place of the hours the clock decides nothing: on a processor of the same kind the same
command, with as many processes, gives the same weights to the bit, also if it was interrupted; on another
processor it learns as much. ``--device cuda`` trains on a GPU instead of a processor's cores.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import torch

from vesal.inference.timing.clock import process_start_monotonic
from vesal.networks.spad_vit import SpadVit
from vesal.training import device as devices
from vesal.training.arguments import make_parser
from vesal.training.backbone import begin_from, begin_from_vit, read_vit
from vesal.training.bank import BANK, build_bank
from vesal.training.coverage import tell_shown
from vesal.training.curves import plot_curves
from vesal.training.device import Work, find_device, work_of
from vesal.training.export import export
from vesal.training.feeder import Feeder
from vesal.training.ideas import Ideas
from vesal.training.look import look_at
from vesal.training.loop import CHECKPOINT, Trainer, train
from vesal.training.parallel import is_first, join
from vesal.training.plan import Plan, ending_s
from vesal.training.pooled_feeder import PooledFeeder
from vesal.training.shelf import read
from vesal.training.shelves import shelves_of
from vesal.training.sizes import SIZES, Size
from vesal.training.store import SetRule, Volume, learnt, of_patients, read_rules
from vesal.training.vit import export_vit

UNFINISHED = 75
"""Exit code of a command that ended before its run did: the same command goes on (``--minutes``)."""


def main() -> None:
    """Parse the command line and run."""
    started = process_start_monotonic()
    parser = make_parser(__doc__)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if args.fresh and not args.backbone:
        parser.error("--fresh tells what to take of --backbone; give that, too")
    args.work.mkdir(parents=True, exist_ok=True)
    try:
        # Before volumes are unpacked, which takes minutes.
        rules = chosen(learnt(read_rules()), args)
        device = find_device(args.device)
        work = _work(args, device)
        vit = read_vit(args.backbone) if args.backbone else None
        plan = Plan(
            hours=1.25 if args.hours is None and args.steps is None else args.hours or 0.0,
            steps=args.steps or 0,
            seed=args.seed,
            **_network(args, vit),
            rate=args.rate,
            pairs=work.pairs,
            ideas=Ideas().without(args.without),
        )
        shelves = shelves_of(args)
    except (ValueError, FileNotFoundError) as error:
        parser.error(str(error))
    store = args.store or args.work / "store"
    bank = build_bank(args.work, args.start, store / BANK)
    whole = work.loaders > 0
    held_out = [v for shelf in shelves["val"] for v in read(shelf, rules, whole=whole)]
    plan = replace(plan, ending_s=ending_s(len(held_out)))
    if is_first() and not (args.work / CHECKPOINT).exists():
        try:
            plan.check_time(time.monotonic() - started)
        except ValueError as error:
            parser.error(str(error))
    group, others = join(work.processes)
    trainer = Trainer(plan, bank, args.work, group, args.start, device)
    if args.backbone and not args.fresh and not trainer.step:
        if vit:
            begin_from_vit(trainer, vit)
        else:
            begin_from(trainer, args.backbone)
    volumes = [v for shelf in shelves["train"] for v in read(shelf, rules, whole=whole)]
    volumes = volumes if args.patients is None else of_patients(volumes, args.patients)
    logging.info(
        "%d volumes, %s, precision %s, from step %d", len(volumes), device, trainer.precision, trainer.step
    )
    trainer.leave_s = trainer.spent_s + 60 * args.minutes if args.minutes else math.inf
    trainer.begin(time.monotonic() - started)
    feeder = _feeder(trainer, volumes, rules, work)
    done = train(trainer, feeder, partial(look_at, volumes=held_out) if held_out else None)
    group.leave()
    if group.rank == 0 and done:
        if vit:
            export_vit(args.work, args.out, plan)
        else:
            export(args.work, args.out)
        tell_shown(args.out, volumes, rules)
        _plot(args)
    for other in others:
        other.wait()
    if not done:
        sys.exit(UNFINISHED)


def chosen(rules: dict[str, SetRule], args: argparse.Namespace) -> dict[str, SetRule]:
    """The sets that the command line leaves. Raises ValueError where it names one that there is not."""
    if unknown := {*(args.only or ()), *args.leave_out} - rules.keys():
        raise ValueError(f"no set called {sorted(unknown)} is trained on; there are {sorted(rules)}")
    return {n: r for n, r in rules.items() if n not in args.leave_out and (not args.only or n in args.only)}


def _network(args: argparse.Namespace, vit: SpadVit | None) -> dict[str, Any]:
    """Fields of the plan that tell the network and its views. Raises ValueError."""
    size: Size = SIZES[args.size]
    if vit and size.deeper:
        raise ValueError(f"--size {args.size} is of nano's encoder; with a SPAD-ViT give --widths alone")
    widths = tuple(args.widths) if args.widths else size.widths
    return asdict(size) | {"widths": widths, "backbone": vit.sizes if vit else None}


def _work(args: argparse.Namespace, device: torch.device) -> Work:
    """How the work is cut: by the device, unless the command line says otherwise. Raises ValueError."""
    usual = work_of(device)
    given = {name: getattr(args, name) for name in ("processes", "pairs", "loaders")}
    work = replace(usual, **{name: number for name, number in given.items() if number is not None})
    if min(work.processes, work.pairs) < 1 or (work.loaders < 1) != devices.is_processor(device):
        raise ValueError(
            f"{given} do not go with {device.type}; wanted 1 or more, and --loaders on a GPU alone"
        )
    if work.processes > 1 and work.loaders:
        raise ValueError(f"--processes {work.processes}: one process trains on a GPU")
    return work


def _feeder(trainer: Trainer, volumes: Sequence[Volume], rules: dict[str, SetRule], work: Work) -> Feeder:
    """What prepares the views that follow."""
    plan, group = trainer.plan, trainer.group
    # By the clock a run that goes on draws other views: one of these may be what ended it.
    seed = plan.seed if plan.steps else plan.seed + 1000 * trainer.step
    return (partial(PooledFeeder, work.loaders) if work.loaders else Feeder)(
        volumes,
        rules,
        plan.coarse_voxels,
        plan.fine_voxels,
        seed,
        group.rank,
        plan.ideas,
        trainer.schedule,
        first=trainer.step * plan.pairs,
        device=trainer.device,
    )


def _plot(args: argparse.Namespace) -> None:
    """Learning curves, where there is something to draw with."""
    try:
        plot_curves(args.work, args.work / "curves.png")
    except ImportError as error:
        logging.info("no curves are drawn: %s; `python -m vesal.training.curves` does it elsewhere", error)


if __name__ == "__main__":
    main()
