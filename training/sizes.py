"""Sizes of the default network: channels, blocks, and how much of a case it sees at once."""

from __future__ import annotations

from dataclasses import dataclass

from vesal.networks.nano import WIDTHS, Widths
from vesal.training.plan import Plan


@dataclass(frozen=True)
class Size:
    """What ``--size`` stands for. Parameters are counted in ``tests/training/test_sizes.py``."""

    widths: Widths = WIDTHS
    deeper: int = 0
    """Further blocks at 1/8 and at 1/16, see ``Nano``."""
    coarse_voxels: int = Plan.coarse_voxels
    fine_voxels: int = Plan.fine_voxels
    """Of the views in training; a new manifest's windows are larger by as much."""


SIZES = {
    "nano": Size(),
    "small": Size(deeper=1, coarse_voxels=56**3, fine_voxels=62**3),
    "base": Size((64, 128, 240, 320), 1, 64**3, 72**3),
}
"""5.3, 8.2 and 25 million parameters. ``small`` has nano's tensors and two further blocks, so that it begins
from nano's weights as they are, and ``base`` from them widened."""
