"""Whether the graphs of a slice network give what their network gives, measured on synthetic slices.

Three ways: full attention; masks that are given, as many as sampling makes; and sampling by uniform numbers.
The first two have no decision in them that rounding could turn. In the third a number near the chance that it
is compared with falls on the other side, and the query sees another token: another draw, no other network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from vesal.inference.runtime.choice import Runtime, choose_runtime
from vesal.networks.biomedparse_v import BiomedParseV, pad_tokens
from vesal.networks.boltzformer import LEVELS, ImageMemory, Masking, sampled_by
from vesal.weights.convert.verify import SEED, Agreement, agreement_of, fast_runtime, synthetic_window

SMALL, LARGE = 128, 512
"""Side of the slices that are measured: in seconds, or as published."""
N_SLICES, N_PROMPTS = 2, 3
SHORTEST, LONGEST = 4, 11
"""Words of the prompts, marks included."""
MASKED = 0.94
"""Share of tokens that sampling masks, of the recorded network."""
FULL, GIVEN, SAMPLED = "full attention", "given masks", "sampled"
FULL_ROLE = "decoder_full"

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class SliceCase:
    """Inputs of a comparison."""

    image: np.ndarray
    """(S, 3, h, w) float32, grey levels 0..255"""
    ids: np.ndarray
    """(P, L) int64"""
    lengths: np.ndarray
    """(P,) int64, words of each prompt"""
    draws: dict[str, Arrays]
    """Of ``GIVEN`` and ``SAMPLED``: ``draws_j`` (P, S, heads, Q, h * w) float32."""


def synthetic_case(
    network: BiomedParseV, side: int, slices: int = N_SLICES, prompts: int = N_PROMPTS
) -> SliceCase:
    """Smooth, noisy slices and random words, seeded."""
    volume = synthetic_window((slices + 2, side, side), 1)[0][0, 0]
    middle = np.arange(1, slices + 1)
    sizes, rng = network.sizes, np.random.default_rng(SEED)
    lengths = np.linspace(SHORTEST, LONGEST, prompts).astype(np.int64)
    last = sizes.text.vocabulary - 1
    ids = rng.integers(0, last - 1, (prompts, sizes.text.context))
    ids[:, 0] = last - 1
    ids[np.arange(ids.shape[1])[None] >= lengths[:, None] - 1] = last
    draws: dict[str, Arrays] = {GIVEN: {}, SAMPLED: {}}
    for layer in range(sizes.decoder.layers):
        pixels = (side * 2 ** (layer % LEVELS) // sizes.side_multiple) ** 2
        uniform = rng.random(
            (prompts, slices, sizes.decoder.heads, sizes.decoder.queries, pixels), np.float32
        )
        draws[SAMPLED][f"draws_{layer}"] = uniform
        draws[GIVEN][f"draws_{layer}"] = np.where(uniform < MASKED, np.float32(-1), np.float32(2))
    image = np.stack([volume[middle], volume[middle - 1], volume[middle + 1]], 1)
    return SliceCase(image, ids, lengths, draws)


def masking_of(draws: Mapping[str, np.ndarray]) -> Masking:
    """``draws_j`` (P, S, heads, Q, h * w) as the network's own sampling takes them."""
    ordered = [torch.from_numpy(draws[f"draws_{layer}"]) for layer in range(len(draws))]
    return sampled_by([one.permute(1, 2, 0, 3, 4).flatten(2, 3) for one in ordered])


@torch.no_grad()
def network_outputs(network: BiomedParseV, case: SliceCase) -> dict[str, Arrays]:
    """By way: ``mask`` and ``edges`` (P, S, h, w) and ``existence`` (P, S), of the network in torch."""
    words = network.encode_text(torch.from_numpy(case.ids))
    tokens = pad_tokens(words, torch.from_numpy(case.lengths))
    memory: ImageMemory = network.encode(torch.from_numpy(case.image))
    found = {}
    for way in (FULL, GIVEN, SAMPLED):
        masking = masking_of(case.draws[way]) if way in case.draws else None
        decoded = network.decode(memory, tokens, masking)
        assert decoded.edges is not None  # a network without edges is not converted
        parts = {"mask": decoded.masks, "edges": decoded.edges, "existence": decoded.existence}
        found[way] = {name: value.transpose(0, 1).numpy() for name, value in parts.items()}
    return found


def graph_outputs(
    graphs: Mapping[str, Path], runtime: Runtime, case: SliceCase, precision: str | None = None
) -> dict[str, Arrays]:
    """As ``network_outputs``, of the graphs by role, run one after the other as the family runs them."""
    words = runtime.load(graphs["text"], precision)({"input_ids": case.ids})["tokens"]
    own = np.arange(case.lengths.max())[None] < case.lengths[:, None]
    tokens = np.where(own[..., None], words[:, : case.lengths.max()], np.float32(0)).transpose(1, 0, 2)
    memory = runtime.load(graphs["image"], precision)({"image": case.image})
    given = {**memory, "tokens": tokens}
    found = {}
    for role, ways in ((FULL_ROLE, (FULL,)), ("decoder", (GIVEN, SAMPLED))):
        graph = runtime.load(graphs[role], precision)
        for way in ways:
            inputs = given | case.draws.get(way, {})
            found[way] = dict(graph({name: inputs[name] for name in graph.inputs}))
    return found


def compare(found: Arrays, wanted: Arrays) -> Agreement:
    """Of masks (P, S, h, w), edges and existence: the largest difference of any, and voxels of one class."""
    masks = agreement_of(found["mask"], wanted["mask"])
    rest = [agreement_of(found[name], wanted[name]).worst for name in ("edges", "existence")]
    return Agreement(max(masks.worst, *rest), masks.share)


def measure_slices(
    network: BiomedParseV, graphs: Mapping[str, Path], published: bool
) -> dict[str, Agreement]:
    """Agreement of the graphs by role with their network, by precision; the worse of the first two ways.

    ``fp32`` is ONNX Runtime's; ``bf16`` OpenVINO's, where this processor has it. With ``sampled`` before it:
    the third way. ``published``: at ``LARGE`` pixels a side.
    """
    # So many that some look at others, where they do.
    slices = max(N_SLICES, network.cross.reach + 1)
    case = synthetic_case(network, LARGE if published else SMALL, slices)
    wanted = network_outputs(network, case)
    runtimes = {"fp32": choose_runtime("onnxruntime")}
    fast = fast_runtime()
    if fast is not None:
        runtimes["bf16"] = fast
    agreed = {}
    for name, runtime in runtimes.items():
        outputs = graph_outputs(graphs, runtime, case)
        full, given, sampled = (compare(outputs[way], wanted[way]) for way in (FULL, GIVEN, SAMPLED))
        agreed[name] = Agreement(max(full.worst, given.worst), min(full.share, given.share))
        agreed[f"{SAMPLED} {name}"] = sampled
    return agreed
