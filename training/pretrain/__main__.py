"""``python -m vesal.training.pretrain --data DIR --out OUT --hours H``: learn an encoder without labels.

Hidden patches of all volumes of ``DIR/train`` are to be told, by their voxels or, with ``--tokenizer``, as
the tokens of a visual tokenizer (SPAD-Nets, section 4.4). ``python -m vesal.training --backbone OUT`` begins
from the encoder. The same command goes on where a run ended.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch

from vesal.networks.masked import TINY_VIT, MaskedModel, MaskedNano, MaskedVit
from vesal.networks.nano import WIDTHS, Nano, Widths
from vesal.networks.spad_vit import SpadVit
from vesal.training.curves import plot_curves
from vesal.training.device import NAMES, find_device, work_of
from vesal.training.parallel import join
from vesal.training.pretrain.learn import Pretrainer, PretrainPlan, pretrain, write_encoder
from vesal.training.pretrain.source import CropSource, read_unlabelled
from vesal.training.pretrain.targets import PatchTarget, PixelTarget, TokenTarget
from vesal.training.store import read_rules
from vesal.training.tokenizer.learn import TokenizerError, load_tokenizer

NANO, VIT = "nano", "vit"


def main() -> None:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m vesal.training.pretrain", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with train/DATASET/*.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder of the encoder to write")
    parser.add_argument("--store", type=Path, help="unpacked volumes; default: OUT/store")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--hours", type=float, default=0.0, help="wall time of the run")
    length.add_argument("--steps", type=int, default=0, help="length in steps instead")
    parser.add_argument("--device", choices=NAMES, default="cpu", help="what to compute on")
    parser.add_argument("--processes", type=int, help="default: one per core; on a GPU one")
    parser.add_argument(
        "--network", choices=(NANO, VIT), default=NANO, help="a small SPAD-ViT in place of nano's encoder"
    )
    parser.add_argument(
        "--tokenizer", type=Path, help="folder of a visual tokenizer, whose tokens are told; default: voxels"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=PretrainPlan.rate, help="peak learning rate")
    parser.add_argument(
        "--widths", type=int, nargs=4, default=WIDTHS, metavar="CHANNELS", help="of the network's four levels"
    )
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        device = find_device(args.device)
        processes = args.processes or work_of(device).processes
        if processes > 1 and device.type != "cpu":
            raise ValueError(f"--processes {processes}: one process trains on a GPU")
        plan = PretrainPlan(hours=args.hours, steps=args.steps, seed=args.seed, rate=args.rate)
        target = make_target(args.tokenizer)
    except (ValueError, TokenizerError) as error:
        parser.error(str(error))
    args.out.mkdir(parents=True, exist_ok=True)
    rules = read_rules()
    volumes = read_unlabelled(args.data, args.store or args.out / "store", rules)
    group, others = join(processes, "vesal.training.pretrain")
    torch.manual_seed(args.seed)
    trainer = Pretrainer(
        make_model(args.network, tuple(args.widths), target.outputs), target, plan, args.out, group, device
    )
    logging.info("%d volumes, precision %s, from step %d", len(volumes), trainer.precision, trainer.step)
    pretrain(trainer, CropSource(volumes, rules, plan.voxels, plan.seed, group.rank))
    group.leave()
    if group.rank == 0:
        sets = sorted({v.dataset for v in volumes})
        told = "tokens" if args.tokenizer else "pixels"
        write_encoder(
            trainer,
            args.out,
            {"network": args.network, "target": told, "volumes": len(volumes), "sets": sets},
        )
        plot_curves(args.out, args.out / "curves.png")
    for other in others:
        other.wait()


def make_target(tokenizer: Path | None) -> PatchTarget:
    """What hidden patches are compared with. Raises TokenizerError."""
    if tokenizer is None:
        return PixelTarget()
    model = load_tokenizer(tokenizer)
    return TokenTarget(model.tokens, model.sizes.codebook)


def make_model(network: str, widths: Widths, outputs: int) -> MaskedModel:
    """A new model of one of the ``--network``."""
    if network == VIT:
        return MaskedModel(MaskedVit(SpadVit(TINY_VIT)), outputs)
    return MaskedModel(MaskedNano(Nano(widths)), outputs)


if __name__ == "__main__":
    main()
