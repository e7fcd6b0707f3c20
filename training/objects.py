"""``python -m vesal.training.objects --start weights/nano --out DIR``: the head that tells objects apart.

Everything but the head stays as it is in the weights that it begins from, to the bit: graphs of all other
targets are the same files, and the head has graphs of its own (``export_objects``). It learns on drawn cells
(``cells``) and on labelled nuclei, if there are any. A run goes on from its last checkpoint.
"""

from __future__ import annotations

import argparse
import csv
import logging
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vesal.inference.data.terms import MODALITIES
from vesal.networks.nano_objects import HEAD
from vesal.training.bank import read_bank
from vesal.training.export_objects import export_objects, network_with_head
from vesal.training.loop import CHECKPOINT, processor_precision
from vesal.training.object_feeder import fed_views
from vesal.training.object_losses import object_loss
from vesal.training.object_manifest import MODALITY
from vesal.training.object_views import ObjectView, read_object_volumes

SET = "Microscopy_Nuclei"
WARMUP_STEPS, AVERAGE, CLIP = 30, 0.99, 1.0
SAVE_EVERY_S, LOG_EVERY = 60.0, 10


@dataclass(frozen=True)
class HeadPlan:
    """Settings of a run."""

    minutes: float = 0.0
    """Wall time of all its parts together; the learning rate falls to zero within it."""
    steps: int = 0
    """Length in steps, where these are given and not the minutes: then nothing hangs on the clock."""
    device: str = "cpu"
    rate: float = 4e-3
    batch: int = 2
    """Views of a step."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ValueError unless the run has one length."""
        if (self.minutes > 0) == (self.steps > 0):
            raise ValueError(
                f"a run takes minutes or steps, one of them; got {self.minutes:g} and {self.steps}"
            )

    def share(self, step: int, spent_s: float) -> float:
        """How much of the run is behind, 0 to 1."""
        return min(1.0, step / self.steps if self.steps else spent_s / (60 * self.minutes))


class HeadTrainer:
    """The network, of which the head alone learns; resumes from ``folder/checkpoint.pt``."""

    def __init__(self, plan: HeadPlan, start: Path, folder: Path) -> None:
        """``start``: folder of exported weights, with a head or without."""
        torch.manual_seed(plan.seed)
        self.plan, self.folder, self.bank = plan, folder, read_bank(start / "bank.npz")
        self.model = network_with_head(start)
        self.model.requires_grad_(False)
        self.model.objects.requires_grad_(True)
        self.model = self.model.to(plan.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        # What layers do otherwise in training is quick on CPUs alone.
        self.model.train(plan.device == "cpu")
        self.optimizer = torch.optim.AdamW(
            self.model.objects.parameters(), plan.rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.average = {k: v.clone() for k, v in self.model.objects.state_dict().items()}
        self.precision = processor_precision() if plan.device == "cpu" else torch.bfloat16
        self.step, self.spent_s = 0, 0.0
        self._resume()

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location=self.plan.device)
        self.model.objects.load_state_dict(state["head"])
        self.average, self.step, self.spent_s = state["average"], state["step"], state["spent_s"]
        self.optimizer.load_state_dict(state["optimizer"])

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state = {
            "head": self.model.objects.state_dict(),
            "average": self.average,
            "step": self.step,
            "spent_s": self.spent_s,
            "optimizer": self.optimizer.state_dict(),
        }
        path = self.folder / CHECKPOINT
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def one_step(self, views: Iterator[ObjectView]) -> dict[str, float]:
        """Learn from some views; loss, loss of the distance and Dice of the mask, their means."""
        share = self.plan.share(self.step, self.spent_s)
        rate = self.plan.rate * (1 + math.cos(math.pi * share)) / 2
        rate *= min(1.0, (self.step + 1) / WARMUP_STEPS)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        told = []
        for _ in range(self.plan.batch):
            loss, distance, dice = self.loss(next(views))
            (loss / self.plan.batch).backward()
            told.append((float(loss.detach()), float(distance), float(dice)))
        norm = torch.nn.utils.clip_grad_norm_(self.model.objects.parameters(), CLIP)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"the gradient's length is {float(norm)} at step {self.step}")
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        keep = min(AVERAGE, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for name, value in self.model.objects.state_dict().items():
                self.average[name].lerp_(value, 1 - keep)
        self.step += 1
        means = np.nanmean(np.array(told), 0)
        return dict(zip(("loss", "distance", "dice"), means.tolist(), strict=True)) | {"rate": rate}

    def loss(self, view: ObjectView) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """See ``object_loss``; of one view, without a spatial prompt, as there is no coarse stage."""
        device = self.plan.device
        text = torch.from_numpy(self.bank[view.concept])[None, None].to(device)
        side = torch.zeros(1, 1, dtype=torch.long, device=device)
        modality = torch.full_like(side, MODALITIES.index(MODALITY))
        image = view.image.to(device, memory_format=torch.channels_last_3d)
        truth = [each.to(device) for each in (view.objects, view.inner, view.faces)]
        with torch.autocast(device, self.precision, enabled=self.precision != torch.float32):
            told = self.model.forward_objects(
                image, torch.zeros_like(truth[0]), text, side, modality, view.degree
            )
        return object_loss(*told, *truth)


def train_head(trainer: HeadTrainer, views: Iterator[ObjectView]) -> None:
    """Run until the plan's minutes or steps are over; saves every minute and at the end."""
    began = time.monotonic() - trainer.spent_s
    saved = time.monotonic()
    path = trainer.folder / "log.csv"
    new = not path.exists()
    with path.open("a", newline="") as file:
        log = csv.writer(file)
        if new:
            log.writerow(["step", "spent_s", "loss", "distance", "dice", "rate"])
        kept: list[dict[str, float]] = []
        while trainer.plan.share(trainer.step, trainer.spent_s) < 1:
            kept.append(trainer.one_step(views))
            trainer.spent_s = time.monotonic() - began
            if trainer.step % LOG_EVERY == 0:
                means = [
                    f"{np.nanmean([k[name] for k in kept]):.4f}" for name in ("loss", "distance", "dice")
                ]
                log.writerow([trainer.step, round(trainer.spent_s), *means, f"{kept[-1]['rate']:.5f}"])
                file.flush()
                kept = []
            if time.monotonic() - saved > SAVE_EVERY_S:
                trainer.save()
                saved = time.monotonic()
    trainer.save()


def main() -> None:
    """Parse the command line, train and export."""
    parser = argparse.ArgumentParser(prog="python -m vesal.training.objects", description=__doc__)
    parser.add_argument("--data", type=Path, help=f"folder with train/{SET}; default: drawn cells alone")
    parser.add_argument("--start", type=Path, required=True, help="folder of weights to begin from")
    parser.add_argument("--out", type=Path, required=True, help="folder of the weights to write")
    parser.add_argument("--work", type=Path, default=Path(".training-objects"), help="checkpoints and log")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=float, default=0.0, help="wall time, all parts together")
    length.add_argument("--steps", type=int, default=0, help="length in steps instead")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or mps (%(default)s)")
    parser.add_argument("--feeders", type=int, default=0, help="processes that draw views; 0: none beside it")
    parser.add_argument("--rate", type=float, default=HeadPlan.rate, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    args.work.mkdir(parents=True, exist_ok=True)
    plan = HeadPlan(args.minutes, args.steps, args.device, args.rate, seed=args.seed)
    trainer = HeadTrainer(plan, args.start, args.work)
    volumes = read_object_volumes(args.data / "train" / SET) if args.data else []
    logging.info("%d labelled volumes, from step %d", len(volumes), trainer.step)
    first = trainer.step * plan.batch
    train_head(trainer, fed_views(volumes, args.seed, first, args.feeders))
    head = {f"{HEAD}{name}": value.cpu() for name, value in trainer.average.items()}
    export_objects(args.start, head, args.out)


if __name__ == "__main__":
    main()
