"""One process per core, gradients averaged after every step.

Each process computes with one thread: convolutions this small lose much of two cores to threads that wait for
each other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import distributed, nn

RANK, WORLD, STORE = "VESAL_TRAINING_RANK", "VESAL_TRAINING_WORLD", "VESAL_TRAINING_STORE"


class Group:
    """The processes of one run, this one being ``rank`` of ``size``."""

    def __init__(self, rank: int, size: int, store: str) -> None:
        self.rank, self.size = rank, size
        torch.set_num_threads(1)
        if size > 1:
            distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)

    def average(self, model: nn.Module, number: float) -> float:
        """Average the gradients of all processes in place; return rank 0's ``number``."""
        if self.size == 1:
            return number
        parameters = [p for p in model.parameters() if p.requires_grad]
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in parameters]
        flat = torch.cat([*parts, torch.tensor([number if self.rank == 0 else 0.0])])
        distributed.all_reduce(flat)
        first = 0
        for p in parameters:
            p.grad = (flat[first : first + p.numel()] / self.size).reshape(p.shape)
            first += p.numel()
        return float(flat[-1])

    def agree(self, number: float) -> float:
        """Rank 0's ``number``, in all processes."""
        if self.size == 1:
            return number
        shared = torch.tensor([number], dtype=torch.float64)
        distributed.broadcast(shared, 0)
        return float(shared)

    def leave(self) -> None:
        """End the group, all together: a process that just exits may abort while gloo's threads run."""
        if self.size > 1:
            distributed.barrier()
            distributed.destroy_process_group()


def is_first() -> bool:
    """Whether this process was started by hand and not by ``join``."""
    return RANK not in os.environ


def join(size: int) -> tuple[Group, list[subprocess.Popen[bytes]]]:
    """Become rank 0 and start the others with the same command line, or join as one that was started."""
    if RANK in os.environ:
        return Group(int(os.environ[RANK]), int(os.environ[WORLD]), os.environ[STORE]), []
    store = str(Path(tempfile.mkdtemp()) / "rendezvous")
    others = [
        subprocess.Popen(
            [sys.executable, "-m", "training", *sys.argv[1:]],
            env=os.environ | {RANK: str(rank), WORLD: str(size), STORE: store},
        )
        for rank in range(1, size)
    ]
    return Group(0, size, store), others
