"""ONNX graphs through ONNX Runtime: with CUDA on a GPU, or plain on a CPU."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vesal.inference.data.errors import OutOfDeviceMemoryError, ProfileError, RuntimeChoiceError
from vesal.inference.runtime.checks import as_float32, check_names, describe

log = logging.getLogger("vesal")

_DTYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
}
_ERRORS_ONLY = 3
"""ONNX Runtime's severity: its warnings are about moved graph nodes only."""

_OUT_OF_MEMORY = (
    "Failed to allocate memory for requested buffer of size",
    "is smaller than requested bytes of",
    "CUDA failure 2: out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""How ONNX Runtime says that the GPU is full; it has no type of its own for it (microsoft/onnxruntime issues
9939, 16307 and 22702). The first two are the arena's (onnxruntime/core/framework/bfc_arena.cc), the others
those of CUDA's libraries when the arena grows or a convolution needs workspace."""


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error of ONNX Runtime means out of memory."""
    return any(text in str(error) for text in _OUT_OF_MEMORY)


class OnnxRuntime:
    """Plain ONNX Runtime on a CPU; it computes in the graph's own precision, so only fp32 is offered."""

    name = "onnxruntime"
    precision = "fp32"
    _providers: tuple[Any, ...] = ("CPUExecutionProvider",)

    def __init__(self, threads: int, reason: str) -> None:
        """Import the package; raises ImportError where it is not installed."""
        import onnxruntime

        self._package = onnxruntime
        # The package's errors have no common base below Exception; its compiled module lists them.
        self._native = onnxruntime.capi.onnxruntime_pybind11_state
        listed = [item for item in vars(self._native).values() if isinstance(item, type)]
        self._errors = tuple(item for item in listed if issubclass(item, Exception)) + (
            ValueError,
            RuntimeError,
        )
        self.threads = threads
        # Shared by all runs: where it says `terminate`, each ends before its next node.
        self._run_options = onnxruntime.RunOptions()
        self.reason = f"{reason}; fp32, the precision of the graphs"

    def load(self, path: Path, precision: str | None = None, one_shape: bool | str = False) -> "OnnxGraph":
        """Read an ONNX graph; ``one_shape`` changes nothing here."""
        if precision not in (None, "fp32"):
            raise RuntimeChoiceError(
                f"Precision {precision!r} was requested; {self.name} runs graphs in fp32 only."
            )
        options = self._package.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = _ERRORS_ONLY
        # Threads that spin while they wait take their processor from resampling and filtering.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return OnnxGraph(self._session(Path(path), options), Path(path), self._native, self._run_options)

    def cancel(self) -> None:
        """See ``choice.Runtime``."""
        self._run_options.terminate = True

    def _session(self, path: Path, options: Any) -> Any:
        if not path.is_file():
            raise ProfileError(
                f"{path} is not there; an ONNX graph is wanted. Fetch or export the weights again."
            )
        try:
            return self._package.InferenceSession(str(path), options, providers=list(self._providers))
        except self._errors as error:
            raise ProfileError(f"ONNX Runtime cannot read {path} as an ONNX graph: {error}") from error


class CudaRuntime(OnnxRuntime):
    """ONNX Runtime on an NVIDIA GPU. Not tested on a GPU."""

    name = "cuda"
    # The default search for convolution algorithms times them all at each new shape; this one starts at once.
    _providers = (("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC"}), "CPUExecutionProvider")

    def __init__(self, threads: int, reason: str) -> None:
        """Import the package; raises RuntimeChoiceError where it was built without CUDA."""
        super().__init__(threads, reason)
        if "CUDAExecutionProvider" not in self._package.get_available_providers():
            raise RuntimeChoiceError(
                "The installed ONNX Runtime has no CUDA; install onnxruntime-gpu in its place."
            )
        # CUDA's libraries are pip packages, which the loader does not search by itself.
        self._package.preload_dlls()

    def _session(self, path: Path, options: Any) -> Any:
        """Open on the GPU; where CUDA does not start, ONNX Runtime takes the CPU and the report says so."""
        session = super()._session(path, options)
        if "CUDAExecutionProvider" not in session.get_providers():
            self.name = "onnxruntime"
            self.reason = "CUDA is installed but did not start on this machine; fp32 on the CPU"
            log.warning("%s", self.reason)
        return session


class OnnxGraph:
    """One ONNX graph in a session of ONNX Runtime."""

    def __init__(self, session: Any, path: Path, native: Any, run_options: Any = None) -> None:
        """Read names and types out of the session; `native` is the compiled module with its errors."""
        self._session, self._path, self._run_options = session, path, run_options
        self._wrong_input = (native.InvalidArgument, ValueError)
        self._may_be_memory = (native.Fail, native.RuntimeException)
        self._types: dict[str, Any] = {port.name: _DTYPES[port.type] for port in session.get_inputs()}
        self.inputs = tuple(self._types)
        self.outputs = tuple(port.name for port in session.get_outputs())

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run on arrays of the graph's shapes; see `runtime.choice.Graph`.

        Raises OutOfDeviceMemoryError where the device is out of memory.
        Inputs and results are in host memory, and so are sums over windows.
        """
        check_names(self._path, self.inputs, inputs)
        arrays: dict[str, np.ndarray] = {
            name: np.ascontiguousarray(inputs[name], dtype) for name, dtype in self._types.items()
        }
        try:
            results = self._session.run(self.outputs, arrays, self._run_options)
        except self._wrong_input as error:
            raise ProfileError(f"{self._path} cannot be run on {describe(arrays)}: {error}") from error
        except self._may_be_memory as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfDeviceMemoryError(
                f"{self._path} does not fit into the device's memory on {describe(arrays)}: {error}"
            ) from error
        return {name: as_float32(result) for name, result in zip(self.outputs, results, strict=True)}
