"""The loop that trains the tokenizer: by hours or by steps, with a checkpoint to go on from."""

from __future__ import annotations

import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vesal.inference.data.errors import VesalError
from vesal.networks.spad_vt import Discriminator, SpadVt, VtSizes
from vesal.training.log import Log
from vesal.training.loop import LOG_EVERY, SAVE_EVERY_S
from vesal.training.losses import (
    adaptive_weight,
    adversarial_loss,
    discriminator_loss,
    dual_prior_loss,
    reconstruction_loss,
    token_entropies,
)
from vesal.training.tokenizer.crops import Batch, CropSource

CHECKPOINT = "checkpoint.pt"
TOKENIZER = "tokenizer.pt"
"""Averaged weights and sizes: what ``load_tokenizer`` reads."""
MOVING = 0.97


class TokenizerError(VesalError):
    """A folder holds no tokenizer that can be read."""


@dataclass(frozen=True)
class TokenizerPlan:
    """Settings of one run."""

    hours: float = 0.0
    """Wall time of the whole command; the rate falls to its end within it."""
    steps: int = 0
    """Steps of the run where these are given and not the hours."""
    ending_s: float = 0.0
    """What of the hours is kept for the report."""
    seed: int = 0
    sizes: VtSizes = VtSizes()
    rate: float = 1e-3
    """Peak of AdamW's; the paper's 1e-4 is for 600,000 steps."""
    warmup_steps: int = 50
    final_share: float = 0.02
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.998
    """Decay of the averaged weights, which are the ones kept."""
    even: float = 1e-3
    """lambda_1 of equation 2, see ``losses.dual_prior_loss``."""
    sharp: float = 3e-4
    """lambda_2"""
    adversary_from: float = 1.0
    """Share of the run from which the adversary takes part; 1: never. It costs PSNR for sharper edges."""

    def __post_init__(self) -> None:
        """Raise ValueError unless the run has one length."""
        if (self.hours > 0) == (self.steps > 0):
            raise ValueError(
                f"a run takes hours or steps, one of them; got {self.hours:g} hours and {self.steps} steps"
            )

    @property
    def limit_s(self) -> float:
        """Seconds from the beginning to the last step."""
        return self.hours * 3600 - self.ending_s

    def rate_at(self, step: int, share: float) -> float:
        """Warm-up by steps, then a cosine over the rest of the run, of which ``share`` is behind."""
        low = self.final_share
        cosine = low + (1 - low) * (1 + math.cos(math.pi * share)) / 2
        return self.rate * cosine * min(1.0, (step + 1) / self.warmup_steps)


class TokenizerTrainer:
    """Networks, optimisers and clock of one run; resumes from ``folder/checkpoint.pt``."""

    def __init__(self, plan: TokenizerPlan, folder: Path, prepared_s: float = 0.0) -> None:
        """``prepared_s``: how long the process took to get here. Raises ValueError: see ``_resume``."""
        torch.manual_seed(plan.seed)
        self.plan, self.folder = plan, folder
        self.model, self.adversary = SpadVt(plan.sizes), Discriminator(plan.sizes.channels)
        self.optimizers = [
            torch.optim.AdamW(net.parameters(), plan.rate, betas=(0.9, 0.99), weight_decay=plan.weight_decay)
            for net in (self.model, self.adversary)
        ]
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.step, self.spent_s = 0, 0.0
        self._resume()
        self.spent_s += prepared_s

    def _resume(self) -> None:
        """Go on from the checkpoint. Raises ValueError where it is of a network of other sizes."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            return
        state = torch.load(path, weights_only=True)
        if state["sizes"] != asdict(self.plan.sizes):
            raise ValueError(
                f"{path} holds a tokenizer of {state['sizes']}, wanted {asdict(self.plan.sizes)}; give its "
                "sizes to go on with it, or another --output"
            )
        self.model.load_state_dict(state["model"])
        self.adversary.load_state_dict(state["adversary"])
        self.average = state["average"]
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.spent_s = state["step"], state["spent_s"]

    @property
    def share(self) -> float:
        """How much of the run is behind, 0 to 1."""
        plan = self.plan
        behind = self.step / plan.steps if plan.steps else self.spent_s / max(plan.limit_s, 1e-9)
        return min(1.0, behind)

    def save(self) -> None:
        """Write the checkpoint atomically."""
        state = {
            "sizes": asdict(self.plan.sizes),
            "model": self.model.state_dict(),
            "adversary": self.adversary.state_dict(),
            "average": self.average,
            "optimizers": [o.state_dict() for o in self.optimizers],
            "step": self.step,
            "spent_s": self.spent_s,
        }
        _write(state, self.folder / CHECKPOINT)

    def one_step(self, batch: Batch) -> dict[str, float]:
        """Learn from a batch; returns what the log shows. Raises FloatingPointError."""
        plan = self.plan
        rate = plan.rate_at(self.step, self.share)
        for optimizer in self.optimizers:
            optimizer.param_groups[0]["lr"] = rate
        found = self.model(batch.image, batch.degree)
        reconstruction = reconstruction_loss(found.image, batch.image)
        loss = reconstruction + dual_prior_loss(found.probabilities, plan.even, plan.sharp)
        if against := self.share >= plan.adversary_from:
            loss = loss + self._pull(reconstruction, found.image, batch.degree)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"the loss at step {self.step} is {float(loss)}; start again with another --seed to go on "
                "from the last checkpoint, which is whole"
            )
        loss.backward()
        self._update(self.model, self.optimizers[0])
        told = {"loss": float(reconstruction.detach())}
        if against:
            told["loss adversary"] = self._judge(batch, found.image.detach())
        with torch.no_grad():
            mean_token, token = token_entropies(found.probabilities)
        told |= {"entropy of the mean token": float(mean_token), "mean entropy of a token": float(token)}
        keep = min(plan.average, (self.step + 1) / (self.step + 10))
        for name, value in self.model.state_dict().items():
            self.average[name].lerp_(value, 1 - keep)
        self.step += 1
        return told

    def _pull(self, reconstruction: Tensor, made: Tensor, degree: int) -> Tensor:
        """The adversary's part of the loss, weighed as the reconstruction."""
        adversarial = adversarial_loss(self.adversary(made, degree))
        weight = adaptive_weight(reconstruction, adversarial, self.model.decoder.last.weight)
        return weight * adversarial

    def _judge(self, batch: Batch, made: Tensor) -> float:
        """Let the adversary learn; what it said of the generator's loss is forgotten."""
        self.optimizers[1].zero_grad(set_to_none=True)
        real, false = self.adversary(batch.image, batch.degree), self.adversary(made, batch.degree)
        loss = discriminator_loss(real, false)
        loss.backward()
        self._update(self.adversary, self.optimizers[1])
        return float(loss.detach())

    def _update(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        torch.nn.utils.clip_grad_norm_(network.parameters(), self.plan.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def finish(self) -> SpadVt:
        """Write ``tokenizer.pt`` and return the tokenizer with averaged weights."""
        _write({"sizes": asdict(self.plan.sizes), "state_dict": self.average}, self.folder / TOKENIZER)
        return load_tokenizer(self.folder)


def train(trainer: TokenizerTrainer, source: CropSource) -> None:
    """Run to the end of the plan; a thread draws the next batch meanwhile."""
    log, values = Log(trainer.folder / "log.csv"), dict[str, float]()
    saved = time.monotonic()
    begun = saved - trainer.spent_s
    with (
        ThreadPoolExecutor(1) as pool,
        tqdm(total=1.0, initial=trainer.share, disable=None, bar_format="{l_bar}{bar}{postfix}") as bar,
    ):
        waiting = pool.submit(source.batch, trainer.step)
        while trainer.share < 1:
            batch, waiting = waiting.result(), pool.submit(source.batch, trainer.step + 1)
            told = trainer.one_step(batch)
            trainer.spent_s = time.monotonic() - begun
            told[f"loss degree {batch.degree}"] = told["loss"]
            for key, value in told.items():
                values[key] = MOVING * values.get(key, value) + (1 - MOVING) * value
            if trainer.step % LOG_EVERY == 0:
                for key, value in values.items():
                    log.note(key, value)
                log.write(trainer.step, trainer.spent_s, trainer.optimizers[0].param_groups[0]["lr"])
                bar.update(trainer.share - bar.n)
                bar.set_postfix(step=trainer.step, loss=f"{values['loss']:.4f}")
            if time.monotonic() - saved > SAVE_EVERY_S:
                trainer.save()
                saved = time.monotonic()
    trainer.save()
    logging.info("%d steps, %.0f s, loss %.4f", trainer.step, trainer.spent_s, values.get("loss", math.nan))


def load_tokenizer(folder: Path) -> SpadVt:
    """The tokenizer that a run left in ``folder``, with averaged weights. Raises TokenizerError."""
    path = folder / TOKENIZER
    if not path.is_file():
        raise TokenizerError(
            f"{folder} holds no {TOKENIZER}; give the --output of a run of vesal.training.tokenizer"
        )
    damaged = TokenizerError(f"{path} is no file of a tokenizer; train it again, or copy it again")
    if not is_zipfile(path):  # torch would take it for an older format, and fail in many ways
        raise damaged
    try:
        state = torch.load(path, weights_only=True)
        sizes: dict[str, Any] = state["sizes"]
        model = SpadVt(VtSizes(**sizes | {"widths": tuple(sizes["widths"])}))
        model.load_state_dict(state["state_dict"])
    except (UnpicklingError, KeyError, RuntimeError, TypeError) as error:
        raise damaged from error
    return model.eval()


def _write(state: dict[str, Any], path: Path) -> None:
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").replace(path)
