"""ONNX graphs through OpenVINO on a CPU, in bf16 where the processor multiplies it, else in fp32.

A graph is compiled once, for all shapes. The alternative, once for each shape, was measured in the same runs
with the default network on two cores: a case of 14 views, each of its own shape, takes 2 to 3 times as long
then, because a compilation takes as long as several views. Views of one shape again and again are up to 1.2
times faster with it, and changing over after some of them would change the last bits of the result.

Graphs of which it is known that all windows have one shape are compiled for it, when the first one comes.
Memory is then planned ahead and results are written to where the caller finds them: a window of 96^3 of Medal
S's prompted network in bf16 takes 1.45 GB at its peak instead of 1.89.
"""

import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vesal.inference.data.errors import ProfileError, RuntimeChoiceError
from vesal.inference.runtime.checks import as_float32, check_names, describe
from vesal.inference.runtime.machine import processor

ALWAYS = "always"
"""One shape in every precision; see ``OpenVino.load``."""
IN_TURNS = "in turns"
"""The same of graphs of which one runs many times before the next: what each needs besides its weights is
given back when another one runs. With 128^3 voxels that is 0.8 GB of VoxTell's window graph."""
KEPT_KERNELS = 64
_PRECISIONS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16"}


class OpenVino:
    """OpenVINO's CPU plugin."""

    name = "openvino"

    def __init__(self, threads: int, reason: str) -> None:
        """Open the plugin and settle the precision; raises ImportError or RuntimeError if it won't start."""
        self.threads = threads
        self._graphs: weakref.WeakSet[OpenVinoGraph] = weakref.WeakSet()
        self._in_turns: weakref.WeakSet[OpenVinoGraph] = weakref.WeakSet()
        self._package = import_openvino()
        self._core = self._package.Core()
        able = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = "bf16" if able and processor().bf16 else "fp32"
        why = "the processor has bf16" if self.precision == "bf16" else "the processor has no bf16"
        self.reason = f"{reason}; {self.precision} because {why}"

    def load(
        self, path: Path, precision: str | None = None, one_shape: bool | str = False
    ) -> "OpenVinoGraph":
        """Read an ONNX graph, and compile it; with ``one_shape`` in bf16 at its first run, for the shape it
        has.

        In fp32 only where it is `ALWAYS` or `IN_TURNS`: it changes the last bits of results, and label maps
        of families that ask for less keep their bytes.
        """
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
            # Weights may be stored in 8 bits; what is multiplied with them is not rounded to as many.
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
            # Of kernels for shapes met before. By default there are thousands, and a process that sees many
            # cases grows by a megabyte with every new shape; fewer cost no time that can be measured.
            "CPU_RUNTIME_CACHE_CAPACITY": KEPT_KERNELS,
        }
        for_shape = one_shape in (ALWAYS, IN_TURNS) or (bool(one_shape) and wanted != "fp32")
        graph = OpenVinoGraph(self._package, self._core, Path(path), options, for_shape)
        self._graphs.add(graph)
        if one_shape == IN_TURNS:
            self._in_turns.add(graph)
            graph.before_run = self._make_room
        return graph

    def _make_room(self, graph: "OpenVinoGraph") -> None:
        """Give back what other graphs than ``graph`` hold that run in turns with it."""
        for other in list(self._in_turns):
            if other is not graph:
                other.give_back()

    def cancel(self) -> None:
        """See ``choice.Runtime``."""
        for graph in list(self._graphs):
            graph.cancel()


class OpenVinoGraph:
    """One ONNX graph, compiled. Several threads may call it; they take turns."""

    def __init__(
        self, package: ModuleType, core: Any, path: Path, options: dict[str, Any], one_shape: bool
    ) -> None:
        """Read the file, and compile it for any shape. Raises ProfileError where OpenVINO cannot.

        With ``one_shape`` it is compiled at the first run, and again where a later one has other shapes.
        """
        self._path = path
        if not path.is_file():
            raise ProfileError(
                f"{path} is not there; an ONNX graph is wanted. Fetch or export the weights again."
            )
        self._core, self._options, self._tensor = core, options, package.Tensor
        try:
            model = core.read_model(path)
            self._request: Any = None if one_shape else self._compiled(model)
        except RuntimeError as error:
            raise ProfileError(f"OpenVINO cannot read {path} as an ONNX graph: {error}") from error
        # A request holds one set of inputs and results: without turns a thread reads those of another one.
        self._one_at_a_time = threading.Lock()
        self._types = {port.any_name: port.element_type.to_dtype() for port in model.inputs}
        self.inputs = tuple(self._types)
        self.outputs = tuple(port.any_name for port in model.outputs)
        self._model: Any = model if one_shape else None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.before_run: Callable[[OpenVinoGraph], None] | None = None

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run on arrays of the graph's shapes; see `runtime.choice.Graph`."""
        check_names(self._path, self.inputs, inputs)
        arrays = {name: np.ascontiguousarray(inputs[name], dtype) for name, dtype in self._types.items()}
        if self.before_run is not None:
            self.before_run(self)
        try:
            with self._one_at_a_time:
                results = self._run(arrays) if self._model is None else self._run_one_shape(arrays)
        except RuntimeError as error:
            raise ProfileError(f"{self._path} cannot be run on {describe(arrays)}: {error}") from error
        return {name: as_float32(result) for name, result in zip(self.outputs, results, strict=True)}

    def give_back(self) -> None:
        """Free what is between inputs and results, which the next run takes anew; not during a run."""
        if self._request is not None and self._one_at_a_time.acquire(blocking=False):
            try:
                self._request.get_compiled_model().release_memory()
            finally:
                self._one_at_a_time.release()

    def cancel(self) -> None:
        """Stop a run in another thread, which raises there."""
        if self._request is not None:
            self._request.cancel()

    def _compiled(self, model: Any) -> Any:
        return self._core.compile_model(model, "CPU", self._options).create_infer_request()

    def _run(self, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Results in the order of ``outputs``, copied out of the request."""
        found = self._request.infer(arrays, share_inputs=True)
        return [found[number] for number in range(len(self.outputs))]

    def _run_one_shape(self, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        """The same, but written by OpenVINO to arrays of our own: copying features takes time and memory."""
        shapes = {name: array.shape for name, array in arrays.items()}
        if shapes != self._shapes:
            self._request, self._shapes = None, {}
            self._model.reshape({name: list(shape) for name, shape in shapes.items()})
            self._request, self._shapes = self._compiled(self._model), shapes
        found = [np.empty(tuple(p.shape), p.element_type.to_dtype()) for p in self._model.outputs]
        for number, result in enumerate(found):
            self._request.set_output_tensor(number, self._tensor(result, True))  # True: not a copy
        self._request.infer(arrays, share_inputs=True, share_outputs=True)
        return found


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
