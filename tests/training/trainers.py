"""Trainers of a thin network that knows liver and spleen."""

from pathlib import Path

import torch

from tests.training.made import THIN, made_bank
from vesal.training.ideas import Ideas
from vesal.training.loop import Trainer
from vesal.training.parallel import Group
from vesal.training.plan import Plan

BANK = made_bank("liver", "spleen")
VOXELS = 2 * 16**3


def trainer(folder: Path, group: Group | None = None, **plan: float | Ideas) -> Trainer:
    """A trainer that works in ``folder``; for an hour where no steps are given."""
    folder.mkdir(exist_ok=True)
    length = {} if "steps" in plan else {"hours": 1.0}
    return Trainer(Plan(**(length | {"widths": THIN} | plan)), BANK, folder, group or Group(0, 1, ""))


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether two state dicts hold the same values."""
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)
