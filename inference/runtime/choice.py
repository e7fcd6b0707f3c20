"""What runs the networks: OpenVINO on a CPU, ONNX Runtime with CUDA on a GPU, plain ONNX Runtime elsewhere.

The choice is made when weights are opened, and its reason goes into the report. Measured on two cores with
bf16: a small 3D U-Net at 96^3 takes 0.17 s with OpenVINO in bf16, 0.36 s in fp32, 1.2 s with plain ONNX
Runtime.
"""

import importlib.util
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from vesal.inference.data.errors import RuntimeChoiceError
from vesal.inference.runtime.machine import available_threads

log = logging.getLogger("vesal")

_GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/nvidia0"), Path("/dev/dxg"))
"""Devices in a container with an NVIDIA GPU; the last one is Windows' subsystem for Linux."""


class Graph(Protocol):
    """One network, loaded. `inputs` and `outputs` are the names in the graph's own order."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the network on arrays by name, of the graph's shapes; float32 in and out, tokens as int64.

        The results belong to the caller. Several threads may call it at once. The same input gives the same
        bytes, in this process and in another one on this machine. Raises ProfileError where names or shapes
        do not fit the graph.
        """
        ...


class Runtime(Protocol):
    """What loads and runs graphs. `precision` is `bf16` or `fp32`, `reason` one sentence for the report."""

    name: str
    reason: str
    precision: str
    threads: int

    def load(self, path: Path, precision: str | None = None, one_shape: bool | str = False) -> Graph:
        """Read an ONNX file, its weights inside or beside it.

        `precision` overrides the runtime's for this graph. `one_shape` says that nearly all runs have the
        same shapes, which may take less time and memory then; `always` that this holds in fp32 too, where
        it changes the last bits; `in turns` besides, that graphs loaded so may give back memory when another
        of them runs. Raises ProfileError where the file is no graph that this runtime can run.
        """
        ...

    def cancel(self) -> None:
        """Stop what its graphs compute in other threads, which raise there; it cannot be used afterwards."""
        ...


def choose_runtime(prefer: str | None = None, threads: int | None = None) -> Runtime:
    """Open the runtime that suits the machine, or the one that `prefer` names.

    `prefer` is None or `auto`, `openvino`, `onnxruntime` or `cuda`; `threads` an upper limit. With `auto` a
    runtime that is installed but does not start is skipped, and the reason says so; a named one raises
    RuntimeChoiceError.
    """
    limit = available_threads(threads)
    if prefer not in (None, "auto"):
        assert prefer is not None
        return _open(prefer, limit, "requested")
    skipped: list[str] = []
    for name, reason in _candidates():
        try:
            return _open(name, limit, "; ".join([reason, *skipped]))
        except RuntimeChoiceError as error:
            log.warning("%s", error)
            skipped.append(str(error))
    raise RuntimeChoiceError(
        "No runtime for the networks is installed or starts" + "".join(f"; {text}" for text in skipped) + ". "
        "Install openvino (CPU), onnxruntime-gpu (NVIDIA) or onnxruntime."
    )


def check_runtime(prefer: str | None = None, threads: int | None = None) -> None:
    """Raise RuntimeChoiceError where `choose_runtime` would, as far as that shows without opening one.

    One that was asked for by name is opened.
    """
    if prefer not in (None, "auto"):
        choose_runtime(prefer, threads)
    elif not (_installed("openvino") or _installed("onnxruntime")):
        choose_runtime(prefer, threads)  # it says what to install


def _candidates() -> list[tuple[str, str]]:
    """Runtimes that are installed, best first, with the reason for each."""
    onnx, openvino = _installed("onnxruntime"), _installed("openvino")
    found = []
    if onnx and any(device.exists() for device in _GPU_DEVICES) and _has_cuda():
        found.append(("cuda", "there is an NVIDIA GPU, and ONNX Runtime is installed with CUDA"))
    if openvino:
        found.append(("openvino", "the fastest on a CPU of those installed"))
    if onnx:
        found.append(("onnxruntime", "no usable GPU, no usable OpenVINO"))
    return found


def _open(name: str, threads: int, reason: str) -> Runtime:
    """Open one runtime by name; its package is imported only here. Raises RuntimeChoiceError."""
    openers: dict[str, Callable[[int, str], Runtime]] = {
        "openvino": _open_openvino,
        "onnxruntime": _open_onnxruntime,
        "cuda": _open_cuda,
    }
    if name not in openers:
        raise RuntimeChoiceError(
            f"There is no runtime {name!r}; choose one of {', '.join(('auto', *openers))}."
        )
    try:
        return openers[name](threads, reason)
    # A package built for another processor or system may fail with any of these.
    except (ImportError, OSError, RuntimeError) as error:
        raise RuntimeChoiceError(f"The runtime {name} cannot be used here: {error}") from error


def _open_openvino(threads: int, reason: str) -> Runtime:
    from vesal.inference.runtime.openvino import OpenVino

    return OpenVino(threads, reason)


def _open_onnxruntime(threads: int, reason: str) -> Runtime:
    from vesal.inference.runtime.onnx import OnnxRuntime

    return OnnxRuntime(threads, reason)


def _open_cuda(threads: int, reason: str) -> Runtime:
    from vesal.inference.runtime.onnx import CudaRuntime

    return CudaRuntime(threads, reason)


def _installed(package: str) -> bool:
    """Whether a package can be found, without paying for its import."""
    return importlib.util.find_spec(package) is not None


def _has_cuda() -> bool:
    """Whether the installed ONNX Runtime is the one for GPUs."""
    try:
        import onnxruntime
    except (ImportError, OSError):
        return False
    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()
