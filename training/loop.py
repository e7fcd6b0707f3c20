"""The training loop: coarse and fine views, Muon and AdamW, averaged weights; by steps or by the clock."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from vesal.inference.data.terms import MODALITIES, SIDES
from vesal.inference.geometry.views import SIDE_MULTIPLE
from vesal.training import device as devices
from vesal.training.bank import is_bank_of
from vesal.training.bar import tqdm
from vesal.training.device import CPU, lowered, moved, on_cpu, precision_of, processor_precision
from vesal.training.export import CHECKPOINT
from vesal.training.feeder import Feeder, ViewSchedule
from vesal.training.log import Log
from vesal.training.losses import segmentation_loss
from vesal.training.muon import Muon
from vesal.training.parallel import Group
from vesal.training.plan import Plan
from vesal.training.times import Times
from vesal.training.views import Item, unposed
from vesal.training.vit import check_resumed, network_of
from vesal.training.warm import warm_start

LOG_EVERY, SAVE_EVERY_S = 20, 60
SAVE_EVERY_STEPS = 25
"""Between two checkpoints of a run by steps. Weights are settled there, so that a run can go on with the same
bits: another number gives others."""
LENGTH = ("hours", "steps", "ending_s")
"""What of a plan may be another when a run goes on: it is then given more time."""
Number = float | torch.Tensor
"""A tensor while a GPU has not been asked for it."""


class Trainer:
    """Model, optimisers and averaged weights of one run; resumes from ``folder/checkpoint.pt``."""

    def __init__(
        self,
        plan: Plan,
        bank: dict[str, np.ndarray],
        folder: Path,
        group: Group,
        start: Path | None = None,
        device: torch.device = CPU,
    ) -> None:
        """``start``: exported weights to begin from, unless ``folder`` has a checkpoint to go on from."""
        torch.manual_seed(plan.seed)
        self.plan, self.bank, self.folder, self.group, self.device = plan, bank, folder, group, device
        self.precision = processor_precision() if device.type == "cpu" else precision_of(device)
        self.model = network_of(plan)  # on the processor, so that every device begins from the same weights
        self.warm = start is not None
        if start is not None and not (folder / CHECKPOINT).exists():
            anew = warm_start(self.model, start)
            logging.info("begun from %s%s", start, f", but anew: {anew}" if anew else "")
            if not is_bank_of(start, bank):
                logging.warning(
                    "%s was trained with another vocabulary: all text vectors differ from those it knows",
                    start,
                )
        # torch's stubs do not know this way to call it.
        self.model = self.model.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.times = Times()
        kernels = [p for p in self.model.parameters() if p.ndim == 5 and p.shape[0] > 1]
        chosen = {id(p) for p in kernels}
        rest = [p for p in self.model.parameters() if id(p) not in chosen]
        self.optimizers = [
            Muon(kernels, plan.rate, weight_decay=plan.weight_decay),
            torch.optim.AdamW(rest, plan.rate, betas=(0.9, 0.99), weight_decay=plan.weight_decay),
        ]
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.step = 0
        self.begun_s = self.spent_s = 0.0  # how much of the hours had gone before the first step, and by now
        self.leave_s = math.inf
        """Seconds from the run's beginning after which this command ends, with a checkpoint."""
        self._resume()

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        state = torch.load(path, weights_only=True, map_location=CPU)
        check_resumed(path, state["model"], self.plan)
        self.model.load_state_dict(state["model"])
        self.average = {name: value.to(self.device) for name, value in state["average"].items()}
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.begun_s, self.spent_s = state["step"], state["begun_s"], state["spent_s"]
        before = state["plan"] | {"processes": state.get("processes", self.group.size)}
        now = asdict(self.plan) | {"processes": self.group.size}
        for name in sorted(before.keys() & now.keys() - set(LENGTH)):
            if before[name] != now[name]:
                logging.warning(
                    "%s was trained with %s %s and goes on with %s: another run than either whole",
                    path,
                    name,
                    before[name],
                    now[name],
                )

    def begin(self, prepared_s: float) -> None:
        """Count what this process took to get here; the first process's seconds hold for all."""
        self.spent_s += self.group.agree(prepared_s)
        if not self.step:
            self.begun_s = self.spent_s

    def save(self) -> None:
        """Write the checkpoint atomically; rank 0 does it for all, who are equal."""
        if self.group.rank:
            return
        path = self.folder / CHECKPOINT
        state = {
            "model": self.model.state_dict(),
            "average": self.average,
            "step": self.step,
            "begun_s": self.begun_s,
            "spent_s": self.spent_s,
            "optimizers": [o.state_dict() for o in self.optimizers],
            "plan": asdict(self.plan),
            "processes": self.group.size,
        }
        torch.save(state if devices.is_processor(self.device) else on_cpu(state), path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def run_view(self, item: Item) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Forward one view: loss, Dice per class (1, N), logits (1, N, d, h, w)."""
        logits, presence = self.look(item)
        plan = self.plan
        loss, dice = segmentation_loss(
            logits,
            presence,
            item.truth,
            plan.dice_weight if plan.ideas.dice else 0.0,
            plan.presence_weight if plan.ideas.presence else 0.0,
        )
        return loss, dice, logits

    def look(self, item: Item) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (1, N, d, h, w) and presence logits (1, N, d) of one view."""
        vectors = torch.from_numpy(np.stack([self.bank[t.concept] for t in item.asked]))[None]
        sides = torch.tensor([[(None, *SIDES).index(t.side) for t in item.asked]])
        modalities = torch.tensor([[MODALITIES.index(t.modality) for t in item.asked]])
        text, side, modality = (moved(x, self.device) for x in (vectors, sides, modalities))
        image, prompt, degree, depth = item.image, item.prompt, item.view.degree, item.image.shape[2]
        if not self.plan.ideas.spad and degree:
            # Without collapsed strides the thick axis is halved as often as the others.
            padding = (0, 0, 0, 0, 0, -depth % SIDE_MULTIPLE)
            image, prompt, degree = F.pad(image, padding), F.pad(prompt, padding), 0
        image = image.contiguous(memory_format=torch.channels_last_3d)
        with lowered(self.device, self.precision):
            logits, presence = self.model(image, prompt, text, side, modality, degree)
        return logits[:, :, :depth], presence[:, :, :depth]

    @property
    def taken(self) -> int:
        """Steps whose views were all learnt from, with the one whose gradients are on their way."""
        return self.step + self.group.has_sent

    def leaves(self) -> bool:
        """Whether this command ends here although the run does not: by steps, where checkpoints are taken."""
        ends = not self.plan.steps or self.taken % SAVE_EVERY_STEPS == 0
        return ends and self.spent_s >= self.leave_s

    def share(self) -> float:
        """How much of the run is behind, 0 to 1, by its steps or by the clock; the same in all processes."""
        if self.plan.steps:
            return min(1.0, self.taken / self.plan.steps)
        return min(1.0, (self.spent_s - self.begun_s) / (self.plan.limit_s - self.begun_s))

    def schedule(self, n: int) -> ViewSchedule:
        """How the n-th view of a stage is to be.

        By steps: as the step wants it that learns from it, however early it is prepared. By the clock: as the
        run stands when it is prepared.
        """
        steps = self.plan.steps
        share = min(1.0, n // self.plan.pairs / steps) if steps else self.share()
        return ViewSchedule(self.plan.scale(share, self.warm), self.plan.plain(share))

    def set_rate(self) -> float:
        """Warm-up by steps, then a cosine over the rest of the run."""
        share, low = self.share(), self.plan.final_share
        rate = self.plan.rate * (low + (1 - low) * (1 + math.cos(math.pi * share)) / 2)
        rate *= min(1.0, (self.step + 1) / self.plan.warmup_steps)
        for optimizer, scale in zip(self.optimizers, (1.0, self.plan.adamw_share), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * scale
        return rate

    def update(self) -> None:
        """Clip, step, average; a gradient that is not finite ends the run before it reaches weight and
        checkpoint.
        """
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip)
        if not torch.isfinite(norm):
            raise FloatingPointError(
                f"the gradient's length is {float(norm)} at step {self.step} although the losses are finite; "
                "start again with another --seed to go on from the last checkpoint, which is whole"
            )
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        keep = min(self.plan.average, (self.step + 1) / (self.step + 10))
        with torch.no_grad():
            for name, value in self.model.state_dict().items():
                self.average[name].lerp_(value, 1 - keep)
        self.step += 1

    def one_step(self, feeder: Feeder, log: Log, spent_s: float) -> None:
        """Coarse and fine views in each process, whose gradients are then averaged.

        They arrive while the next step's first view is computed, with weights that lack one update (but for
        the first step after a checkpoint of a run by steps): so no process stands still until the other is
        ready. ``spent_s``: this process's own clock.
        """
        seen = []
        for n in range(self.plan.pairs):
            with self.times("data"):
                item = feeder.coarse()
            loss, dice, logits = self._one_view(item)
            if n == 0:
                self.settle()
            with self.times("data"):
                feeder.give_back(item, unposed(logits.detach()[0].float().sigmoid(), item))
            seen.append((item, loss, dice))
        # The feeder has built the first of them while the network was at the last coarse view.
        for _ in range(self.plan.pairs):
            with self.times("data"):
                item = feeder.fine()
            loss, dice, _ = self._one_view(item)
            seen.append((item, loss, dice))
        with self.times("forward and backward"):
            told = self._told(seen)
        for item, loss, dice in told:
            log.add(item, loss, dice)
        with self.times("exchange"):
            self.group.send(self.model, spent_s)
        if self.group.size == 1:
            self.settle()

    def settle(self) -> None:
        """Update with the gradients that were sent, if any; those of views since then wait for the next."""
        if not self.group.has_sent:
            return
        since = [p.grad for p in self.model.parameters()]
        with self.times("exchange"):
            self.spent_s = self.group.receive()
        with self.times("update"):
            self.update()
        for parameter, gradient in zip(self.model.parameters(), since, strict=True):
            parameter.grad = gradient

    def _one_view(self, item: Item) -> tuple[Number, Number, torch.Tensor]:
        with self.times("forward and backward"):
            return self._learn(item)

    def _learn(self, item: Item) -> tuple[Number, Number, torch.Tensor]:
        loss, dice, logits = self.run_view(item)
        whole = loss / (2 * self.plan.pairs)
        if not devices.is_processor(self.device):
            # A GPU is asked once a step: whoever waits for an answer queues nothing meanwhile.
            whole.backward()
            return loss.detach(), torch.nanmean(dice), logits
        _require_finite(float(loss.detach()), item, logits)
        whole.backward()
        return float(loss.detach()), float(torch.nanmean(dice)), logits

    def _told(self, seen: Sequence[tuple[Item, Number, Number]]) -> list[tuple[Item, float, float]]:
        """Loss and Dice of a step's views as numbers; a GPU's loss that is not finite ends the run here."""
        if devices.is_processor(self.device):
            return [(item, float(loss), float(dice)) for item, loss, dice in seen]
        pairs = torch.stack([torch.stack([torch.as_tensor(n) for n in row[1:]]) for row in seen]).tolist()
        for (item, _, _), (loss, _) in zip(seen, pairs, strict=True):
            _require_finite(loss, item)
        return [(item, loss, dice) for (item, _, _), (loss, dice) in zip(seen, pairs, strict=True)]


def _require_finite(loss: float, item: Item, logits: torch.Tensor | None = None) -> None:
    """Raise FloatingPointError where the loss of a view is not a finite number."""
    if math.isfinite(loss):
        return
    finite = "not kept" if logits is None else f"finite: {bool(torch.isfinite(logits).all())}"
    image, prompt = float(item.image.abs().max()), float(item.prompt.max())
    raise FloatingPointError(
        f"the loss of a {item.stage} view of {item.volume.name} is {loss}: image {image}, prompt {prompt}, "
        f"logits {finite}; view {item.view}"
    )


Validate = Callable[[Trainer], dict[str, float]]
"""Log keys and Dice of the averaged weights on volumes that are not trained on."""


def train(trainer: Trainer, feeder: Feeder, validate: Validate | None = None) -> bool:
    """Run until the plan's steps are made or its hours over but for their ending; saves on the way and at
    the end.

    Returns whether it is at its end: not where it left before, at ``leave_s``, with its checkpoint.
    """
    log = Log(trainer.folder / f"log{trainer.group.rank or ''}.csv")
    plan = trainer.plan
    saved = looked = time.monotonic()
    begun = saved - trainer.spent_s
    quiet = True if trainer.group.rank else None
    total, unit = (plan.steps, "step") if plan.steps else (round(plan.limit_s), "s")

    def behind() -> float:
        return trainer.taken if plan.steps else trainer.spent_s

    rate = trainer.set_rate()
    with tqdm(total=total, initial=round(behind()), unit=unit, disable=quiet) as bar:
        while behind() < (plan.steps or plan.limit_s) and not trainer.leaves():
            rate = trainer.set_rate()
            trainer.one_step(feeder, log, time.monotonic() - begun)
            if trainer.step and trainer.step % LOG_EVERY == 0:
                for what, share in trainer.times.shares().items():
                    log.note(f"time {what}", share)
                log.write(trainer.step, trainer.spent_s, rate)
                bar.update(round(behind()) - bar.n)
                bar.set_postfix(step=trainer.step, loss=f"{log.values.get('loss coarse', 0):.3f}")
            if plan.steps and trainer.taken % SAVE_EVERY_STEPS == 0:
                trainer.settle()  # in all processes, so that a run that goes on from here is the same run
                trainer.save()
            elif not plan.steps and time.monotonic() - saved > SAVE_EVERY_S:
                trainer.save()
                saved = time.monotonic()
            if validate and time.monotonic() - looked > plan.validate_s:
                _look(trainer, validate, log)
                looked = time.monotonic()
    done = behind() >= (plan.steps or plan.limit_s)
    trainer.settle()
    trainer.save()
    if validate and done:
        _look(trainer, validate, log)
    log.write(trainer.step, trainer.spent_s, rate)
    shares = ", ".join(f"{what} {100 * share:.1f} %" for what, share in trainer.times.shares().items())
    logging.info("%d steps; wall time: %s", trainer.step, shares)
    if not done:
        logging.info("%.0f of %d %s are behind; the same command goes on", behind(), total, unit)
    feeder.close()
    return done


def _look(trainer: Trainer, validate: Validate, log: Log) -> None:
    """Validate in rank 0; the others wait for it at the next exchange of gradients."""
    if trainer.group.rank:
        return
    with trainer.times("validation"):
        for key, value in validate(trainer).items():
            log.note(key, value)
