"""Where a training computes: the cores of a processor, a process for each, or one GPU fed by threads.

What differs between them is said here and nowhere else: precision, how tensors get there, how many views
make a step, and how many threads prepare them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vesal.inference.data.errors import VesalError
from vesal.inference.runtime.machine import available_threads

CPU = torch.device("cpu")
NAMES = ("cpu", "cuda", "mps")


def is_processor(device: torch.device) -> bool:
    """Whether a device is the processor: what is done otherwise on a GPU asks here."""
    return device.type == "cpu"


MOST_LOADERS = 4
"""To sample a coarse and a fine view takes one thread 15 to 20 ms (AVX512): four give 200 pairs a second,
more than is learnt from. More of them wait for each other, and the network for them, at the interpreter's
lock."""


class DeviceError(VesalError, ValueError):
    """The device that was asked for is not there."""


@dataclass(frozen=True)
class Work:
    """How the work of a step is cut for a device."""

    processes: int
    """that each train a copy of the network"""
    pairs: int
    """Coarse views of a process in one step, and as many fine ones."""
    loaders: int
    """Threads of a process that prepare views. 0: one, which takes turns with the network (``feeder.py``)."""


def work_of(device: torch.device) -> Work:
    """One process for each core of a processor; one in all on a GPU, where other cores prepare views.

    A GPU's step has 16 views, where that of two cores has 12: an update is many small kernels, which leave a
    GPU idle. Not tuned on a GPU.
    """
    cores = available_threads()
    if is_processor(device):
        return Work(cores, 3, 0)
    return Work(1, 8 if device.type == "cuda" else 6, min(MOST_LOADERS, max(1, cores - 1)))


def find_device(name: str) -> torch.device:
    """The device of a name of ``NAMES``. Raises DeviceError where it is not there."""
    there: dict[str, Callable[[], bool]] = {
        "cpu": lambda: True,
        "cuda": torch.cuda.is_available,
        "mps": torch.backends.mps.is_available,
    }
    if name not in there:
        raise DeviceError(f"no device is called {name!r}; there are {', '.join(NAMES)}")
    if not there[name]():
        raise DeviceError(
            f"{name} is not there: torch {torch.__version__} sees no such device; install the torch that is "
            "built for it, or train on cpu"
        )
    return torch.device(name)


def precision_of(device: torch.device) -> torch.dtype:
    """bf16 where the device computes it natively, else fp32. Unlike fp16 it needs no scaling of gradients."""
    if device.type == "cpu":
        return processor_precision()
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    try:  # Metal has it from a version of the system on, which torch tells by an error alone
        one = torch.ones(1, 1, device=device, dtype=torch.bfloat16)
        return (one @ one).dtype
    except (RuntimeError, TypeError):
        return torch.float32


def processor_precision() -> torch.dtype:
    """bf16 where the processor computes it natively, else fp32: emulated bf16 is a hundred times slower."""
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return torch.bfloat16 if "avx512_bf16" in flags or "amx_bf16" in flags else torch.float32


def lowered(device: torch.device, precision: torch.dtype) -> AbstractContextManager[object]:
    """What computes in ``precision`` on a device; nothing in fp32."""
    return nullcontext() if precision == torch.float32 else torch.autocast(device.type, precision)


def moved(tensor: Tensor, device: torch.device) -> Tensor:
    """A processor's tensor of any shape on a device, with its type; the tensor itself on the processor.

    To CUDA it goes through pinned memory and the copy is queued like everything else: nobody waits for it.
    Torch keeps the pinned memory until the copy is made.
    """
    if device.type == "cpu":
        return tensor
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def on_cpu(state: Any) -> Any:
    """Tensors in dicts, lists and tuples brought to the processor, so that any machine reads a checkpoint."""
    if isinstance(state, Tensor):
        return state.cpu()
    if isinstance(state, dict):
        return {key: on_cpu(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(on_cpu(value) for value in state)
    return state
