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
        self._sent: tuple[list[nn.Parameter], torch.Tensor, distributed.Work | None] | None = None
        torch.set_num_threads(1)
        if size > 1:
            distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)

    def send(self, model: nn.Module, number: float) -> None:
        """Begin to average the gradients of all processes, and leave the model without any."""
        trained = [p for p in model.parameters() if p.requires_grad]
        parts = [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in trained]
        said = torch.tensor([number if self.rank == 0 else 0.0], device=parts[0].device)
        flat = torch.cat([*parts, said])
        work = distributed.all_reduce(flat, async_op=True) if self.size > 1 else None
        self._sent = trained, flat, work
        for p in trained:
            p.grad = None

    @property
    def has_sent(self) -> bool:
        """Whether gradients are on their way."""
        return self._sent is not None

    def receive(self) -> float:
        """Give each parameter the mean of its gradients, once all have sent; return rank 0's number."""
        if self._sent is None:
            raise RuntimeError("nothing was sent that could be received")
        trained, flat, work = self._sent
        if work is not None:
            work.wait()
        means = (flat[:-1] / self.size).split([p.numel() for p in trained])
        for p, mean in zip(trained, means, strict=True):
            p.grad = mean.reshape(p.shape)
        self._sent = None
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


def join(size: int, module: str = "vesal.training") -> tuple[Group, list[subprocess.Popen[bytes]]]:
    """Become rank 0 and start the others with the command line of ``module``, or join as one started so."""
    if RANK in os.environ:
        return Group(int(os.environ[RANK]), int(os.environ[WORLD]), os.environ[STORE]), []
    store = str(Path(tempfile.mkdtemp()) / "rendezvous")
    others = [
        subprocess.Popen(
            [sys.executable, "-m", module, *sys.argv[1:]],
            env=os.environ | {RANK: str(rank), WORLD: str(size), STORE: store},
        )
        for rank in range(1, size)
    ]
    return Group(0, size, store), others
