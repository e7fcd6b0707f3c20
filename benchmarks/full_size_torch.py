"""What `benchmarks.full_size` needs of torch: a random network as published files, the plain way to run it.

A process of its own each time, started by that benchmark.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.full_size import SEED, SPACING_DHW_MM, questions
from benchmarks.measure import now
from vesal.inference.families.query import QueryModel
from vesal.inference.geometry.tilings import blending_weight, tiles
from vesal.inference.io.formats import read_case
from vesal.inference.planning.profile import read_profile
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.inference.runtime.choice import Graph
from vesal.inference.runtime.machine import peak_mb
from vesal.inference.stages.block_masks import half_of_blocks
from vesal.networks.medal_s import MEDAL_S, MedalS, complementary_passes
from vesal.networks.mpnet_text import MPNetText, TextSizes
from vesal.networks.sat import Sizes
from vesal.weights.convert.checkpoint import Checkpoint
from vesal.weights.convert.folder import Options, convert
from vesal.weights.convert.keymap import load
from vesal.weights.convert.systems.medal_s import MEDAL_S as SYSTEM

BLOCK = 8
"""Voxels a side of the blocks of complementary prompts in the fine stage (docs/medal_s.md 7)."""
WORDS = ["<s>", "<pad>", "</s>", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz"]


def main() -> None:
    """Make the network, or run a case."""
    parser = argparse.ArgumentParser("python -m benchmarks.full_size_torch", description=__doc__)
    parser.add_argument("what", choices=("make", "plain"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--window", type=int, nargs=3, required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--narrow", type=int, required=True)
    parser.add_argument("--store", required=True)
    parser.add_argument("--case", type=Path)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    torch.set_num_threads(options.threads)
    if options.what == "make":
        make_network(options.folder, options.window, options.narrow, options.store)
    else:
        print(json.dumps(run_plain(options.case, options.folder, options.window)))


def make_network(folder: Path, window: Sequence[int], narrow: int, store: str) -> None:
    """Write random networks as published files, and convert them."""
    folder.mkdir(parents=True, exist_ok=True)
    d, h, w = window
    told = "_".join(str(s) for s in (*SPACING_DHW_MM[1:], SPACING_DHW_MM[0]))
    files = {s: folder / f"{s}_crop_size_{h}_{w}_{d}_spacing_{told}_step_1.pth" for s in ("coarse", "fine")}
    for seed, file in enumerate(files.values()):
        torch.save({"model_state_dict": randomised(MedalS(narrowed(narrow)), SEED + seed).state_dict()}, file)
    width = narrowed(narrow).query
    encoder = randomised(MPNetText(TextSizes(len(WORDS), 300, 48, 48, 1, 12, 32, width, 5)), SEED)
    torch.save({"model_state_dict": encoder.state_dict()}, folder / "text.pth")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    asked = tuple(a.sentence for a in questions(len(load_vocabulary().concepts)))
    options = Options(store, "fast", asked, keep_text=False)
    convert(SYSTEM, files, folder / "text.pth", folder, folder / "converted", options)


def narrowed(by: int) -> Sizes:
    """Medal S's sizes, with fewer channels for a trial."""
    if by == 1:
        return MEDAL_S
    return replace(
        MEDAL_S,
        features=tuple(f // by for f in MEDAL_S.features),
        query=48,
        projection=48,
        mask_hidden=48,
        feedforward=48,
    )


def randomised(module: nn.Module, seed: int) -> nn.Module:
    """Weights from a seed that keep the spread of what passes through, so that masks are of both kinds."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            around = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            spread = 0.3 if parameter.ndim == 1 else (2 / parameter[0].numel()) ** 0.5
            parameter.copy_(around + spread * torch.randn(parameter.shape, generator=g))
    return module.eval()


def run_plain(case: Path, folder: Path, window: Sequence[int]) -> dict[str, float]:
    """The case by the plain way, from its npz to its labels; in the process that is measured."""
    started = now()
    read = read_case(case)
    asked = questions(len(read.sentences))
    model = QueryModel.open(read_profile(folder / "converted", check_digests=False), _NoRuntime())
    queries = torch.from_numpy(model.encode_prompts(asked).text)[None]
    # (h, w, d), as the published network sees it
    volume = torch.from_numpy(read.image.transpose(1, 2, 0).astype(np.float32))[None, None]
    h, w, d = window[1], window[2], window[0]
    labels, passes = None, 0
    for stage in ("coarse", "fine"):
        network = _network(folder, stage)
        labels, ran = plain_stage(network, volume, queries, labels, (h, w, d))
        passes += ran
        del network
    assert labels is not None
    np.savez(folder / "plain.npz", labels=labels.numpy().transpose(2, 0, 1))
    return {"seconds": now() - started, "peak_mb": peak_mb(), "passes": passes}


@torch.no_grad()
def plain_stage(
    model: MedalS, volume: Tensor, queries: Tensor, labels: Tensor | None, window: tuple[int, int, int]
) -> tuple[Tensor, int]:
    """One stage: (1, 1, h, w, d) -> labels (h, w, d) and the number of passes."""
    count, (h, w, d) = queries.shape[1], volume.shape[2:]
    shape = (h, w, d)
    total = torch.zeros(count, *shape)
    weights = torch.zeros(count, *shape)
    weight = torch.from_numpy(blending_weight(window).astype(np.float32))
    passes = 0
    for bounds in tiles(shape, window):
        at = tuple(slice(*bound) for bound in bounds)
        patch = volume[(slice(None), slice(None), *at)]
        hint = None if labels is None else labels[at]
        if hint is None or not hint.any():
            logits = model(patch, queries, torch.zeros(1, count, *window))
            passes += 1
        else:
            prompt = torch.stack([hint == i + 1 for i in range(count)]).float()[None]
            logits = complementary_passes(model, patch, queries, prompt, _blocks(window), BLOCK)
            passes += 2
        total[(slice(None), *at)] += logits[0].sigmoid() * weight
        weights[(slice(None), *at)] += weight
    probability = total / weights
    best, index = probability.max(0)
    return torch.where(best > 0.5, index + 1, 0), passes


def _blocks(window: tuple[int, int, int]) -> Tensor:
    """The engine's own halves, (h, w, d) blocks: so both do the same."""
    h, w, d = window
    kept = half_of_blocks((d, h, w), BLOCK)[::BLOCK, ::BLOCK, ::BLOCK]
    return torch.from_numpy(kept.transpose(1, 2, 0).copy())


def _network(folder: Path, stage: str) -> MedalS:
    (file,) = folder.glob(f"{stage}_crop_size_*.pth")
    network = load(Checkpoint(file), SYSTEM.network)
    assert isinstance(network, MedalS)
    return network


class _NoRuntime:
    """The bank is all that the plain way needs of the converted folder."""

    def load(self, path: Path, precision: str | None = None, one_shape: bool | str = False) -> Graph:
        """Nothing is to be loaded."""
        raise AssertionError(path)


if __name__ == "__main__":
    main()
