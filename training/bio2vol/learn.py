"""Training of the small slice network: from nothing, and on from there for one row of the tables."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from vesal.networks.small_slice import SliceOutput, SmallSlice
from vesal.training.bio2vol.draws import Batch, draw
from vesal.training.bio2vol.rows import Row
from vesal.training.bio2vol.slices import Sampled
from vesal.training.log import Log
from vesal.training.losses import alignment_loss, segmentation_loss

RATE = 1e-3
"""Peak learning rate, from nothing and of fine-tuning: the paper's 1e-5 is for a network that had far more
training and goes on for 20 epochs.
"""
DECAY = 0.01
WARM_STEPS = 20
ALIGN_WEIGHT = 1.0
"""Of the alignment loss, as in the paper."""
KEEP = 0.97
"""Of the moving averages in the log."""
LOG_STEPS = 20


def learn(
    model: SmallSlice,
    groups: Mapping[str, Sequence[Sampled]],
    row: Row,
    steps: int,
    rate: float,
    seed: int,
    folder: Path,
    hidden: float = 0.0,
) -> None:
    """Train a network in place; curves are appended to ``folder/log.csv``.

    A step draws the same batch in every row of one seed; a share of its slices is ``hidden``.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=DECAY)
    log, begun, averages = Log(folder / "log.csv"), time.monotonic(), dict[str, float]()
    model.train()
    for step in range(steps):
        now = rate * min(1, (step + 1) / WARM_STEPS) * (1 + math.cos(math.pi * step / steps)) / 2
        for group in optimiser.param_groups:
            group["lr"] = now
        batch = draw(groups, row.rate.depth, (seed, step), hidden)
        loss, dice = loss_of(model, batch, row)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        for key, value in (("loss", loss.item()), (batch.dataset, dice.nanmean().item())):
            if not math.isnan(value):
                averages[key] = KEEP * averages.get(key, value) + (1 - KEEP) * value
        if (step + 1) % LOG_STEPS == 0:
            for key, value in averages.items():
                log.note(key, value)
            log.write(step + 1, time.monotonic() - begun, now)
    model.eval()


def loss_of(model: SmallSlice, batch: Batch, row: Row) -> tuple[Tensor, Tensor]:
    """Loss of a batch, the mean over the pathways of a row, and the soft Dice (B, N) of the dense one."""
    batches = [batch.every(rate) for rate in row.rate.rates]
    outputs: list[SliceOutput] = [model(each.image, each.text) for each in batches]
    found = [
        segmentation_loss(output.logits, output.presence, each.truth)
        for output, each in zip(outputs, batches, strict=True)
    ]
    loss = torch.stack([one for one, _ in found]).mean()
    if row.align:
        loss = loss + ALIGN_WEIGHT * alignment_loss([o.features for o in outputs], outputs[0].text)
    return loss, found[0][1]
