"""Labelled volumes as the small slice network sees them, and the way back to their own grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vesal.networks.small_slice import SIDE
from vesal.training.store import Volume, learnt, read_folder, read_rules

SETS = ("MR_Heart_ACDC", "MR_LeftAtrium", "MR_Prostate")
"""Hearts and prostates in MR: slices of 10 mm, 1.25 mm and about 3 mm."""
PIXEL_MM = 2.5
"""Spacing within slices; the network sees the middle 160 mm, in which 98 % of the hearts' labels lie."""
OUTSIDE = -20.0
"""Logit of what the network does not see."""


@dataclass(frozen=True, eq=False)
class Sampled:
    """One volume on the network's grid."""

    volume: Volume
    image: Tensor
    """(D, SIDE, SIDE) float32, -1..1"""
    truth: Tensor
    """(N, D, SIDE, SIDE) float32, 0 or 1, for each of the volume's targets"""
    text: Tensor
    """(N, T) float32 of length 1"""

    @property
    def dataset(self) -> str:
        """Name of its set."""
        return self.volume.dataset


def read_sampled(folder: Path, bank: Mapping[str, np.ndarray], most: int | None = None) -> list[Sampled]:
    """All volumes of ``folder/SET/*.npz`` for the sets here, at most ``most`` of a set."""
    rules = {name: rule for name, rule in learnt(read_rules()).items() if name in SETS}
    return [sample(volume, bank) for volume in read_folder(folder, rules, most)]


def sample(volume: Volume, bank: Mapping[str, np.ndarray]) -> Sampled:
    """A volume on the network's grid, every slice of it, with the text vectors of its targets."""
    image, labels = (torch.from_numpy(np.asarray(x[:, :, :])) for x in (volume.image, volume.labels))
    truth = torch.stack([(labels == target.label).float() for target in volume.targets])
    text = torch.from_numpy(np.stack([bank[target.concept] for target in volume.targets]))
    grid = grid_of(volume)
    seen = cropped(resized(image.float() / 127.5 - 1, grid), -1.0)
    mask = (cropped(resized(truth, grid), 0.0) > 0.5).float()
    return Sampled(volume, seen, mask, F.normalize(text, dim=-1))


def grid_of(volume: Volume) -> tuple[int, int]:
    """Sides of a whole slice at ``PIXEL_MM``."""
    _, h, w = volume.image.shape
    _, y_mm, x_mm = volume.spacing_dhw_mm
    return max(1, round(h * y_mm / PIXEL_MM)), max(1, round(w * x_mm / PIXEL_MM))


def resized(x: Tensor, sides: tuple[int, int]) -> Tensor:
    """Slices (*, D, H, W) brought to other sides, bilinear and, where they shrink, antialiased."""
    flat = x.reshape(1, -1, *x.shape[-2:])
    return F.interpolate(flat, sides, mode="bilinear", antialias=True).reshape(*x.shape[:-2], *sides)


def cropped(x: Tensor, outside: float, sides: tuple[int, int] = (SIDE, SIDE)) -> Tensor:
    """The middle of slices (*, D, H, W), filled up with ``outside`` where they are smaller; and back."""
    (h, w), (to_h, to_w) = x.shape[-2:], sides
    # Negative numbers crop; rounded towards zero, so that the way back ends where it began.
    top, left = int((to_h - h) / 2), int((to_w - w) / 2)
    return F.pad(x, (left, to_w - w - left, top, to_h - h - top), value=outside)


def native_masks(logits: Tensor, volume: Volume) -> np.ndarray:
    """(N, D, SIDE, SIDE) logits -> (N, D, H, W) bool on the volume's own grid; False where it is not seen."""
    whole = cropped(logits, OUTSIDE, grid_of(volume))
    sides = (volume.image.shape[1], volume.image.shape[2])
    return (resized(whole, sides) > 0).numpy()
