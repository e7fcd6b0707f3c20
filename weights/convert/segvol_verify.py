"""Whether the graphs of SegVol give what their network gives, measured on one synthetic window.

The weights fix the window's size, so it is always the published one. Prompts are independent of each other,
and each is compared by itself: texts alone, and boxes with points and texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vesal.inference.runtime.choice import Runtime, choose_runtime
from vesal.networks.point_prompts import sparse_tokens
from vesal.networks.segvol import SegVol
from vesal.weights.convert.verify import SEED, Agreement, agreement_of, fast_runtime, synthetic_window

N_PROMPTS, N_POINTS = 2, 3
SHORTEST, LONGEST = 6, 11
"""Tokens of the texts, marks included."""

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class WindowCase:
    """Inputs of a comparison."""

    image: np.ndarray
    """(1, 1, d, h, w) float32, 0..1"""
    ids: np.ndarray
    """(N, L) int64"""
    asked: dict[str, Arrays]
    """By kind of prompts, `coordinates` (N, T, 3) and `kinds` (N, T)."""


def synthetic_case(network: SegVol, prompts: int = N_PROMPTS) -> WindowCase:
    """A smooth, noisy window, random tokens, boxes and points, seeded."""
    sizes, rng = network.sizes, np.random.default_rng(SEED)
    window = sizes.image.window_dhw
    image = synthetic_window(window, 1)[0] / np.float32(255)
    end = sizes.text.vocabulary - 1
    lengths = np.linspace(SHORTEST, LONGEST, prompts).astype(np.int64)
    ids = rng.integers(0, end - 1, (prompts, LONGEST))
    ids[:, 0] = end - 1
    ids[np.arange(LONGEST)[None] >= lengths[:, None] - 1] = end
    box = np.sort(rng.uniform(0, window, (prompts, 2, 3)), 1).reshape(prompts, 6).astype(np.float32)
    points = rng.uniform(0, window, (prompts, N_POINTS, 3)).astype(np.float32)
    labels = np.tile(np.arange(N_POINTS) % 2, (prompts, 1))
    places, kinds, corners = (torch.from_numpy(array) for array in (points, labels, box))
    found = {
        "text": sparse_tokens(with_text=True),
        "all": sparse_tokens(places, kinds, corners, with_text=True),
    }
    asked = {
        name: {
            "coordinates": places.expand(prompts, -1, -1).numpy().copy(),
            "kinds": kinds.expand(prompts, -1).numpy().copy(),
        }
        for name, (places, kinds) in found.items()
    }
    return WindowCase(image, ids, asked)


@torch.no_grad()
def network_outputs(network: SegVol, case: WindowCase) -> dict[str, np.ndarray]:
    """Logits (N, d, h, w) by kind of prompts, of the network in torch, the plain way."""
    embedding = network.encode(torch.from_numpy(case.image))
    text = network.encode_text(torch.from_numpy(case.ids))
    found = {}
    for name, asked in case.asked.items():
        places, kinds = (torch.from_numpy(asked[key]) for key in ("coordinates", "kinds"))
        logits = [
            network(embedding, places[n : n + 1], kinds[n : n + 1], text[n : n + 1], torch.ones(1)).logits
            for n in range(len(text))
        ]
        found[name] = torch.cat(logits).numpy()
    return found


def graph_outputs(
    graphs: Mapping[str, Path], runtime: Runtime, case: WindowCase, precision: str | None = None
) -> dict[str, np.ndarray]:
    """As ``network_outputs``, of the graphs by role, run one after the other as the family runs them."""
    # Texts are encoded once a case, in fp32 as the family does.
    text = runtime.load(graphs["text"], "fp32")({"input_ids": case.ids})["text"]
    embedding = runtime.load(graphs["image"], precision, "always")({"image": case.image})["embedding"]
    decoder = runtime.load(graphs["decoder"], precision)
    shared = {"embedding": embedding, "text": text, "with_text": np.ones(len(text), np.float32)}
    return {name: decoder({**shared, **asked})["logits"] for name, asked in case.asked.items()}


def compare(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> Agreement:
    """The worst of all prompts, each with a mask of its own."""
    each = [
        agreement_of(found[name][n : n + 1], logits[n : n + 1])
        for name, logits in wanted.items()
        for n in range(len(logits))
    ]
    return Agreement(max(one.worst for one in each), min(one.share for one in each))


def measure_segvol(network: SegVol, graphs: Mapping[str, Path], published: bool) -> dict[str, Agreement]:
    """Agreement of the graphs by role with their network, by precision.

    ``fp32`` is ONNX Runtime's; ``bf16`` OpenVINO's, where this processor has it. ``published`` changes
    nothing: the window has one size.
    """
    case = synthetic_case(network)
    wanted = network_outputs(network, case)
    runtimes = {"fp32": choose_runtime("onnxruntime")}
    fast = fast_runtime()
    if fast is not None:
        runtimes["bf16"] = fast
    return {name: compare(graph_outputs(graphs, runtime, case), wanted) for name, runtime in runtimes.items()}
