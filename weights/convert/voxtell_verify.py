"""Whether the graphs of VoxTell give what their network gives, measured on one synthetic window.

Unless the published window is asked for, it is a part of it: positions of the first corner, and all weights.
Prompts are independent of each other, and each is compared by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vesal.inference.runtime.choice import Runtime, choose_runtime
from vesal.networks.voxtell import VoxTell
from vesal.weights.convert.verify import Agreement, agreement_of, fast_runtime, synthetic_window
from vesal.weights.convert.voxtell_graphs import PROMPT, TEXT, WINDOW, Sides, cut_positions

N_PROMPTS = 3
FAST = "bf16"


@dataclass(frozen=True, eq=False)
class WindowCase:
    """Inputs of a comparison."""

    image: np.ndarray
    """(1, 1, d, h, w) float32, of mean 0 and deviation 1"""
    text: np.ndarray
    """(1, N, T) float32"""


def synthetic_case(window: Sides, embeddings: np.ndarray) -> WindowCase:
    """A smooth, noisy window, seeded, and texts of a bank (N, T), spread over all of it."""
    image = synthetic_window(window, 1)[0]
    rows = np.linspace(0, len(embeddings) - 1, N_PROMPTS).astype(np.int64)
    text = embeddings[np.unique(rows)].astype(np.float32)
    return WindowCase((image - image.mean()) / image.std(), text[None])


@torch.no_grad()
def network_logits(network: VoxTell, window: Sides, case: WindowCase) -> np.ndarray:
    """Logits (N, d, h, w) of the network in torch, the plain way: everything for each prompt.

    Args:
        network: for windows of the shape ``window``.
        window: (d, h, w).
        case: of it, or of a part.
    """
    d, h, w = case.image.shape[2:]
    part = cut_positions(network, window, (d, h, w))
    logits: np.ndarray = part(torch.from_numpy(case.image), torch.from_numpy(case.text))[0].numpy()
    return logits


def graph_logits(
    graphs: Mapping[str, Path], runtime: Runtime, case: WindowCase, precision: str | None = None
) -> np.ndarray:
    """As ``network_logits``, of the graphs by role, run as the family runs them."""
    # Texts are projected once a case, in fp32 as the family does.
    queries = runtime.load(graphs[TEXT], "fp32")({"text": case.text})["queries"]
    memory = runtime.load(graphs[WINDOW], precision, "always")({"image": case.image})
    prompt = runtime.load(graphs[PROMPT], precision, "always")
    each = [prompt({**memory, "queries": queries[:, n : n + 1]})["logits"] for n in range(queries.shape[1])]
    return np.concatenate(each)


def compare(found: np.ndarray, wanted: np.ndarray) -> Agreement:
    """The worst of all prompts, logits (N, d, h, w), each with a mask of its own."""
    each = [agreement_of(found[n : n + 1], wanted[n : n + 1]) for n in range(len(wanted))]
    return Agreement(max(one.worst for one in each), min(one.share for one in each))


def measure_voxtell(
    graphs: Mapping[str, Path], case: WindowCase, wanted: np.ndarray, with_fast: bool = True
) -> dict[str, Agreement]:
    """Agreement of the graphs by role with their network's logits (N, d, h, w), by precision.

    ``fp32`` is ONNX Runtime's; ``bf16`` OpenVINO's, where this processor has it, and with ``with_fast``.
    """
    found = {"fp32": compare(graph_logits(graphs, choose_runtime("onnxruntime"), case, "fp32"), wanted)}
    fast = fast_runtime() if with_fast else None
    if fast is not None:
        found[FAST] = compare(graph_logits(graphs, fast, case), wanted)
    return found
