"""Whether a converted graph gives the logits of its network, measured on a synthetic window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vesal.inference.data.errors import RuntimeChoiceError
from vesal.inference.families.query_text import QueryTextEncoder
from vesal.inference.runtime.choice import Runtime, choose_runtime
from vesal.weights.convert.errors import ConversionError
from vesal.weights.convert.system import PROMPTED, RunNetwork

MIN_AGREEMENT = 0.999
"""Share of voxels of a window whose class must be the network's."""
MAX_DIFFERENCE = 1e-4
"""Largest difference in fp32, as a share of the largest logit, of graphs with weights in fp32."""
MIN_FOREGROUND = 0.01
"""Share of voxels with a positive logit below which agreement says nothing."""
MAX_SIDE = 64
"""Voxels a side of the window that is measured unless the published one is asked for."""
N_QUERIES = 8
SEED = 7


@dataclass(frozen=True)
class Agreement:
    """One graph in one precision against the network in fp32."""

    worst: float
    """Largest difference of logits, as a share of the largest logit; infinite where one is not finite."""
    share: float
    """Of voxels that have the same class, or background in both."""


def class_map(logits: np.ndarray) -> np.ndarray:
    """Logits (N, ...) -> classes (...): 0 where no logit is positive, else 1 + the index of the largest."""
    best = logits.argmax(0)
    return np.where(logits.max(0) > 0, best + 1, 0)


def agreement_of(logits: np.ndarray, wanted: np.ndarray) -> Agreement:
    """Agreement of logits (N, ...) with the network's, of the same shape.

    Where next to none of these is positive, as may be on a synthetic image, background would agree with
    anything: then the median of each class is subtracted from both.

    Raises:
        ConversionError: one of the network's logits is NaN or infinite.
    """
    if not np.isfinite(wanted).all():
        raise ConversionError(
            "The network itself gives NaN or infinite logits for a synthetic window. Its weights are "
            "damaged, or not those that were published; fetch the file again."
        )
    finite = np.isfinite(logits).all(0)
    if not finite.all():
        return Agreement(float("inf"), float((finite & (class_map(logits) == class_map(wanted))).mean()))
    worst = float(np.abs(logits - wanted).max() / max(np.abs(wanted).max(), 1e-9))
    if (class_map(wanted) > 0).mean() < MIN_FOREGROUND:
        median = np.median(wanted.reshape(len(wanted), -1), 1).reshape(-1, *(1,) * (wanted.ndim - 1))
        logits, wanted = logits - median, wanted - median
    return Agreement(worst, float((class_map(logits) == class_map(wanted)).mean()))


def measured_window(window_dhw: tuple[int, int, int], published: bool) -> tuple[int, int, int]:
    """The window to measure at: the network's own, or at most ``MAX_SIDE`` voxels a side of it, which takes
    seconds instead of minutes and a tenth of the memory.
    """
    d, h, w = (side if published else min(side, MAX_SIDE) for side in window_dhw)
    return d, h, w


def synthetic_window(shape: tuple[int, int, int], prompts: int) -> tuple[np.ndarray, np.ndarray]:
    """A smooth, noisy image (1, 1, d, h, w) 0..255 and boxes (1, N, d, h, w) as spatial prompts, seeded."""
    rng = np.random.default_rng(SEED)
    axes = np.meshgrid(*(np.linspace(0, 3, n) for n in shape), indexing="ij")
    image = sum(np.sin(axis * rng.uniform(1, 4) + rng.uniform(0, 6)) for axis in axes) * 40 + 127
    image = np.clip(image + rng.normal(0, 8, shape), 0, 255).astype(np.uint8).astype(np.float32)
    boxes = np.zeros((prompts, *shape), np.float32)
    for box in boxes:
        low = [int(rng.integers(0, n // 2)) for n in shape]
        box[tuple(slice(a, a + n // 3) for a, n in zip(low, shape, strict=True))] = 1
    return image[None, None], boxes[None]


def measure(
    network: RunNetwork, graphs: Mapping[str, Path], queries: np.ndarray, window_dhw: tuple[int, int, int]
) -> dict[str, Agreement]:
    """Agreement of a stage's graphs by role with their network, for queries (N, E) in one synthetic window:
    the worst of all, by precision.

    ``fp32`` is ONNX Runtime's; ``bf16`` OpenVINO's, where this processor has it.
    """
    image, boxes = synthetic_window(window_dhw, len(queries))
    runtimes = {"fp32": choose_runtime("onnxruntime")}
    fast = fast_runtime()
    if fast is not None:
        runtimes["bf16"] = fast
    found: dict[str, list[Agreement]] = {name: [] for name in runtimes}
    for prompt in (None, boxes) if PROMPTED in graphs else (None,):
        wanted = network(image, queries, prompt)
        for name, runtime in runtimes.items():
            logits = graph_logits(graphs, runtime, image, queries, prompt)
            found[name].append(agreement_of(logits, wanted))
    return {
        name: Agreement(max(a.worst for a in each), min(a.share for a in each))
        for name, each in found.items()
    }


def graph_logits(
    graphs: Mapping[str, Path],
    runtime: Runtime,
    image: np.ndarray,
    queries: np.ndarray,
    boxes: np.ndarray | None,
) -> np.ndarray:
    """Logits of the graphs of a stage, one after the other as the engine runs them.

    Args:
        graphs: by role.
        runtime: to run them in.
        image: (1, 1, d, h, w) float32.
        queries: (N, E) float32.
        boxes: spatial prompts (1, N, d, h, w) float32, 0 or 1, or None.

    Returns:
        (N, d, h, w) float32.
    """

    def run(role: str, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        return dict(runtime.load(graphs[role])(inputs))

    if boxes is not None:
        encoded = run("prompted", image=image, text=queries[None], prompt=boxes)
    else:
        encoded = run("encoder", image=image)
        encoded |= run("embed", tokens=encoded["tokens"], positions=encoded["positions"], text=queries[None])
    logits: np.ndarray = np.tensordot(encoded["masks"][0], encoded["features"][0], 1)
    return logits


def query_agreement(
    network: RunNetwork,
    graph: Path,
    tokenizer: Path,
    names: Sequence[str],
    queries: np.ndarray,
    modality: np.ndarray,
) -> Agreement:
    """What a text graph's rounding changes: logits with its queries against those with exact ones.

    Args:
        network: which takes the queries.
        graph: of the text encoder.
        tokenizer: beside it.
        names: N texts.
        queries: (N, E) that the encoder itself makes of them.
        modality: (E,) added to both.
    """
    image, _ = synthetic_window((MAX_SIDE,) * 3, len(names))
    rounded = QueryTextEncoder(graph, tokenizer, choose_runtime("onnxruntime")).encode(list(names))
    wanted = network(image, queries + modality, None)
    return agreement_of(network(image, rounded + modality, None), wanted)


def fast_runtime() -> Runtime | None:
    """OpenVINO in bf16; None where this processor has none, or OpenVINO is not installed."""
    try:
        runtime = choose_runtime("openvino")
    except RuntimeChoiceError:
        return None
    return runtime if runtime.precision == "bf16" else None


def check(name: str, agreement: Agreement) -> None:
    """Refuse a graph with weights in fp32 that is not its network.

    Raises:
        ConversionError: logits differ by more than ``MAX_DIFFERENCE``, or too many voxels change class.
    """
    if not (agreement.worst <= MAX_DIFFERENCE and agreement.share >= MIN_AGREEMENT):
        raise ConversionError(
            f"The graph of {name} differs from its network: logits by {agreement.worst:.1e} of the largest, "
            f"the class of {1 - agreement.share:.2%} of voxels; wanted is at most {MAX_DIFFERENCE:.0e} and "
            f"{1 - MIN_AGREEMENT:.1%}. The conversion or ONNX Runtime is at fault: please report it."
        )


def choose_precision(wanted: str, found: dict[str, Agreement]) -> tuple[str | None, str]:
    """Precision to run a graph in (None: as the runtime likes), and why.

    Args:
        wanted: ``auto``, ``fp32`` or ``fast``.
        found: agreement by precision, see ``measure``.
    """
    if wanted != "auto":
        return ("fp32" if wanted == "fp32" else None), "it was asked for"
    bf16 = found.get("bf16")
    if bf16 is None:
        return "fp32", "this processor has no bf16 to measure; --precision fast leaves it to the runtime"
    told = f"bf16 gives {bf16.share:.2%} of voxels the class that fp32 gives"
    return (None if bf16.share >= MIN_AGREEMENT else "fp32"), told
