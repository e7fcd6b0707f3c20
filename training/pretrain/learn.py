"""The loop of pre-training: by hours or by steps, with a checkpoint to go on from."""

from __future__ import annotations

import json
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from vesal.networks.masked import MaskedModel
from vesal.training import device as devices
from vesal.training.bar import tqdm
from vesal.training.device import CPU, lowered, moved, on_cpu, precision_of, processor_precision
from vesal.training.log import Log
from vesal.training.loop import LOG_EVERY, SAVE_EVERY_S
from vesal.training.parallel import Group
from vesal.training.pretrain.crops import Crop
from vesal.training.pretrain.source import CropSource
from vesal.training.pretrain.targets import PatchTarget

CHECKPOINT = "pretrain.pt"
ENCODER, ABOUT = "encoder.pt", "pretrain.json"
"""What fine-tuning reads, and what it came from."""


@dataclass(frozen=True)
class PretrainPlan:
    """Settings of one run."""

    hours: float = 0.0
    """Wall time of the run; the rate falls to its end within it."""
    steps: int = 0
    """Steps of the run where these are given and not the hours."""
    seed: int = 0
    crops: int = 6
    """Of a process in one step."""
    voxels: int = 48**3
    """Most voxels of a crop."""
    rate: float = 1e-3
    """Peak of AdamW's: pixels need a higher one than the paper's 2e-5, which goes on from a trained ViT."""
    warmup_steps: int = 50
    final_share: float = 0.02
    weight_decay: float = 0.05
    clip: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError unless the run has one length."""
        if (self.hours > 0) == (self.steps > 0):
            raise ValueError(
                f"a run takes hours or steps, one of them; got {self.hours:g} hours and {self.steps} steps"
            )

    def rate_at(self, step: int, share: float) -> float:
        """Warm-up by steps, then a cosine over the rest of the run, of which ``share`` is behind."""
        low = self.final_share
        return (
            self.rate
            * (low + (1 - low) * (1 + math.cos(math.pi * share)) / 2)
            * min(1.0, (step + 1) / self.warmup_steps)
        )


class Pretrainer:
    """Model, optimiser and clock of one run; resumes from ``folder/pretrain.pt``."""

    def __init__(
        self,
        model: MaskedModel,
        target: PatchTarget,
        plan: PretrainPlan,
        folder: Path,
        group: Group,
        device: torch.device = CPU,
    ) -> None:
        self.model, self.target, self.plan, self.folder, self.group = model, target, plan, folder, group
        self.device = device
        self.precision = processor_precision() if device.type == "cpu" else precision_of(device)
        model.to(device)
        self.optimizer = torch.optim.AdamW(
            model.parameters(), plan.rate, betas=(0.9, 0.95), weight_decay=plan.weight_decay
        )
        self.step, self.spent_s = 0, 0.0
        if (folder / CHECKPOINT).exists():
            state = torch.load(folder / CHECKPOINT, weights_only=True, map_location=CPU)
            model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self.spent_s = state["step"], state["spent_s"]

    @property
    def share(self) -> float:
        """How much of the run is behind, 0 to 1."""
        behind = self.step / self.plan.steps if self.plan.steps else self.spent_s / (3600 * self.plan.hours)
        return min(1.0, behind)

    def save(self) -> None:
        """Write the checkpoint atomically; rank 0 does it for all, who are equal."""
        if self.group.rank:
            return
        path = self.folder / CHECKPOINT
        state = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "spent_s": self.spent_s,
        }
        torch.save(state if devices.is_processor(self.device) else on_cpu(state), path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def loss(self, crop: Crop) -> Tensor:
        """Of one crop."""
        given, mask = moved(crop.image, self.device), moved(crop.mask, self.device)
        image = given.contiguous(memory_format=torch.channels_last_3d)
        with lowered(self.device, self.precision):
            told = self.model(image, mask, crop.degree)
        return self.target.loss(told, given, mask, crop.degree)

    def _require_finite(self, loss: float, crop: Crop) -> None:
        """Raise FloatingPointError where the loss of a crop is not a finite number."""
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss of a crop of {crop.dataset} is {loss} at step {self.step}; start again "
                "with another --seed to go on from the last checkpoint, which is whole"
            )

    def one_step(self, crops: list[Crop], log: Log, spent_s: float) -> None:
        """Gradients of a step's crops, averaged over all processes, and the update."""
        losses = []
        for crop in crops:
            loss = self.loss(crop)
            if devices.is_processor(self.device):
                self._require_finite(float(loss.detach()), crop)
            (loss / len(crops)).backward()
            losses.append(loss.detach())
        # A GPU is asked once a step: whoever waits for an answer queues nothing meanwhile.
        for crop, number in zip(crops, torch.stack(losses).tolist(), strict=True):
            self._require_finite(number, crop)
            log.move("loss", number)
            log.move(f"loss {crop.dataset}", number)
        self.group.send(self.model, spent_s)
        self.spent_s = self.group.receive()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.plan.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.rate_at(self.step, self.share)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1


def pretrain(trainer: Pretrainer, source: CropSource) -> None:
    """Run to the end of the plan; a thread draws the crops of the next step meanwhile."""
    log = Log(trainer.folder / f"log{trainer.group.rank or ''}.csv")
    numbers = range(trainer.plan.crops)

    def drawn(step: int) -> list[Crop]:
        return [source.crop(step, number) for number in numbers]

    saved = time.monotonic()
    begun = saved - trainer.spent_s
    quiet = True if trainer.group.rank else None
    with (
        ThreadPoolExecutor(1) as pool,
        tqdm(total=1.0, disable=quiet, bar_format="{l_bar}{bar}{postfix}") as bar,
    ):
        waiting = pool.submit(drawn, trainer.step)
        while trainer.share < 1:
            crops, waiting = waiting.result(), pool.submit(drawn, trainer.step + 1)
            trainer.one_step(crops, log, time.monotonic() - begun)
            if trainer.step % LOG_EVERY == 0:
                log.write(trainer.step, trainer.spent_s, trainer.optimizer.param_groups[0]["lr"])
                bar.update(trainer.share - bar.n)
                bar.set_postfix(step=trainer.step, loss=f"{log.values['loss']:.3f}")
            if time.monotonic() - saved > SAVE_EVERY_S:
                trainer.save()
                saved = time.monotonic()
    log.write(trainer.step, trainer.spent_s, 0.0)
    trainer.save()
    logging.info(
        "%d steps in %.0f s, loss %.4f", trainer.step, trainer.spent_s, log.values.get("loss", math.nan)
    )


def write_encoder(trainer: Pretrainer, out: Path, about: dict[str, object]) -> None:
    """Write what fine-tuning begins from: the encoder's tensors in fp32, and where they come from."""
    out.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous().cpu() for name, value in trainer.model.encoder.state_dict().items()}
    torch.save(state, out / ENCODER)
    run = {"steps": trainer.step, "seconds": round(trainer.spent_s), "plan": asdict(trainer.plan)}
    (out / ABOUT).write_text(json.dumps(about | run, indent=1) + "\n", encoding="utf-8")
