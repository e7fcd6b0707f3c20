"""Dice and NSD of held-out volumes, on their own grids."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vesal.evaluation.metrics import dice
from vesal.evaluation.surface import surface_dice
from vesal.inference.geometry.dual_rate import DualRate, merged
from vesal.networks.small_slice import SmallSlice
from vesal.training.bio2vol.draws import blackened
from vesal.training.bio2vol.slices import Sampled, native_masks

Scores = dict[str, dict[str, list[float]]]
"""``dice`` and ``nsd`` -> target, with its set -> values of the volumes, in their order; ``hidden`` is the
Dice of the black slices alone, where there are some, NaN in a volume without the target in them."""


@torch.no_grad()
def volume_logits(model: SmallSlice, sampled: Sampled, image: Tensor, rate: DualRate) -> Tensor:
    """(N, D, h, w) logits of a volume's image (D, h, w), its sequences merged."""

    def run(slices: np.ndarray) -> np.ndarray:
        logits: np.ndarray = model(image[None, slices], sampled.text[None]).logits[0].numpy()
        return logits

    return torch.from_numpy(merged(run, len(image), rate, axis=1))


def score(model: SmallSlice, volumes: Sequence[Sampled], rate: DualRate, hidden: float = 0.0) -> Scores:
    """Scores of every target of every volume, of which about a share of the slices is black."""
    found: Scores = {measure: {} for measure in ("dice", "nsd", *(("hidden",) if hidden else ()))}
    for number, sampled in enumerate(volumes):
        volume = sampled.volume
        image, black = blackened(sampled.image, np.random.default_rng(number), hidden)
        masks = native_masks(volume_logits(model, sampled, image, rate), volume)
        labels = volume.labels[:, :, :]
        for target, mask in zip(volume.targets, masks, strict=True):
            truth, key = np.asarray(labels == target.label), f"{volume.dataset} {target.name}"
            near = surface_dice(mask, truth, volume.spacing_dhw_mm)
            found["dice"].setdefault(key, []).append(dice(mask, truth))
            found["nsd"].setdefault(key, []).append(near)
            if hidden:
                found["hidden"].setdefault(key, []).append(dice(mask[black], truth[black]))
    return found


def means(scores: Scores, measure: str) -> dict[str, float]:
    """Mean of each target in percent, and under ``mean`` that of all targets, each counted once."""
    found = {key: 100 * float(np.nanmean(values)) for key, values in scores[measure].items()}
    return found | {"mean": float(np.mean(list(found.values())))}
