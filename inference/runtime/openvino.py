"""ONNX graphs through OpenVINO on a CPU, in bf16 where the processor multiplies it, else in fp32.

A graph is compiled once, for all shapes. The alternative, once for each shape, was measured in the same runs
with the default network on two cores: a case of 14 views, each of its own shape, takes 2 to 3 times as long
then, because a compilation takes as long as several views. Views of one shape again and again are up to 1.2
times faster with it, and changing over after some of them would change the last bits of the result.
"""

import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vesal.inference.data.errors import ProfileError, RuntimeChoiceError
from vesal.inference.runtime.checks import as_float32, check_names, describe
from vesal.inference.runtime.machine import processor

_PRECISIONS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class OpenVino:
    """OpenVINO's CPU plugin."""

    name = "openvino"

    def __init__(self, threads: int, reason: str) -> None:
        """Open the plugin and settle the precision; raises ImportError or RuntimeError if it won't start."""
        self.threads = threads
        self._core = import_openvino().Core()
        able = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bf16" if able and processor().bf16 else "fp32"
        why = "the processor has bf16" if self.precision == "bf16" else "the processor has no bf16"
        self.reason = f"{reason}; {self.precision} because {why}"

    def load(self, path: Path, precision: str | None = None) -> "OpenVinoGraph":
        """Read and compile an ONNX graph."""
        wanted = precision or self.precision
        if wanted not in _PRECISIONS:
            raise RuntimeChoiceError(
                f"Precision {wanted!r} is unknown; choose one of {', '.join(_PRECISIONS)}."
            )
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": self.threads,
            "INFERENCE_PRECISION_HINT": _PRECISIONS[wanted],
            # Two containers on one host would pin to the same processors; alone, pinning is no faster.
            "ENABLE_CPU_PINNING": False,
        }
        return OpenVinoGraph(self._core, Path(path), options)


class OpenVinoGraph:
    """One ONNX graph, compiled. Several threads may call it; they take turns."""

    def __init__(self, core: Any, path: Path, options: dict[str, Any]) -> None:
        """Read and compile the file. Raises ProfileError where OpenVINO cannot."""
        self._path = path
        if not path.is_file():
            raise ProfileError(
                f"{path} is not there; an ONNX graph is wanted. Fetch or export the weights again."
            )
        try:
            model = core.read_model(path)
            self._request = core.compile_model(model, "CPU", options).create_infer_request()
        except RuntimeError as error:
            raise ProfileError(f"OpenVINO cannot read {path} as an ONNX graph: {error}") from error
        # A request holds one set of inputs and results: without turns a thread reads those of another one.
        self._one_at_a_time = threading.Lock()
        self._types = {port.any_name: port.element_type.to_dtype() for port in model.inputs}
        self.inputs = tuple(self._types)
        self.outputs = tuple(port.any_name for port in model.outputs)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run on arrays of the graph's shapes; see `runtime.choice.Graph`."""
        check_names(self._path, self.inputs, inputs)
        arrays = {name: np.ascontiguousarray(inputs[name], dtype) for name, dtype in self._types.items()}
        try:
            with self._one_at_a_time:
                results = self._request.infer(arrays, share_inputs=True)
        except RuntimeError as error:
            raise ProfileError(f"{self._path} cannot be run on {describe(arrays)}: {error}") from error
        return {name: as_float32(results[number]) for number, name in enumerate(self.outputs)}


def import_openvino() -> ModuleType:
    """Import OpenVINO without its converter.

    The converter's package, imported along, writes to the home folder and reports the import to a server; a
    container may do neither. It is optional to OpenVINO itself, and takes half of the time of the import.
    """
    converter = "openvino.tools.ovc"
    blocked = converter not in sys.modules
    if blocked:
        sys.modules[converter] = None  # type: ignore[assignment]
    try:
        import openvino
    finally:
        if blocked:
            del sys.modules[converter]
    return openvino
