"""Medal S at its full size in this engine, and the plain way: `python -m benchmarks.full_size`.

Both run the same network (109.4 M parameters, random from a seed), the same case and the same windows, one
after the other, each in a process of its own. The plain way is what the published code does on a CPU: torch
in fp32, the whole network for every window, zero prompts where there are none, an accumulator for every class
over the whole grid, the largest of them in the end. Absolute times depend on the machine; figures are ratios
of one run.

The window is smaller than the published 128 x 224 x 224 unless `--window` says so; the table gives the
factor. Both stages have the same spacing here, so that the fine one has as many windows as the coarse one.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measure import now, predict
from benchmarks.tables import Row, finish, markdown
from inference.case import read_case
from inference.masks import half_of_blocks
from inference.model_query import QueryModel
from inference.processor import peak_mb, processor
from inference.rules.tiles import blending_weight, tiles
from inference.vocabulary import load_vocabulary
from networks.medal_s import MEDAL_S, MedalS, complementary
from networks.mpnet_text import MPNetText, TextSizes
from networks.sat import Sizes
from weights.convert.folder import Options, convert

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED_VOXELS = 128 * 224 * 224
SPACING_DHW_MM = (3.0, 1.5, 1.5)
SEED = 20
BLOCK = 8
TIME_LIMIT = 1.0
"""Ratio to the plain way from which this engine would have no point."""
WORDS = ["<s>", "<pad>", "</s>", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz"]


@dataclass(frozen=True)
class Asked:
    """One prompt as the model takes it."""

    concept: str
    sentence: str
    side: None = None
    modality: str = "CT"


def main(arguments: list[str] | None = None) -> int:
    """Make network and case, run both, print the table; return 1 where the engine is no better."""
    parser = argparse.ArgumentParser("python -m benchmarks.full_size", description=__doc__.split("\n")[0])
    parser.add_argument("--window", type=int, nargs=3, default=(96, 96, 96), help="D H W, multiples of 32")
    parser.add_argument("--windows", type=int, default=2, help="in a row, overlapping by half")
    parser.add_argument("--prompts", type=int, nargs="+", default=[15, 1], help="each is a run of the engine")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--narrow", type=int, default=1, help="divide all widths, to try this file out")
    parser.add_argument("--store", choices=("fp16", "fp32"), default="fp16")
    parser.add_argument("--folder", type=Path, help="keep the converted network here, or find it here")
    parser.add_argument("--json", type=Path, help="file for the figures")
    parser.add_argument("--plain", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    if options.plain:
        print(json.dumps(run_plain(options.plain, options.folder, options.threads, options.window)))
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        if not (folder / "converted" / "manifest.json").is_file():
            make_network(folder, options.window, options.narrow, options.store)
        rows = [r for n in options.prompts for r in measured(folder, n, n == options.prompts[0], options)]
    about = processor()
    title = f"Medal S, one divided by {options.narrow}" if options.narrow > 1 else "Medal S at full size"
    print(f"{about}\n")
    print(markdown(title, rows))
    return finish({title: rows}, options.json)


def measured(folder: Path, prompts: int, beside: bool, options: argparse.Namespace) -> list[Row]:
    """Rows of one number of prompts; the plain way is run for the first one only."""
    case = make_case(folder, options.window, options.windows, prompts)
    command = ("--weights", str(folder / "converted"), "--threads", str(options.threads), "--seconds", "3600")
    ours = predict(case, folder / "ours", *command)
    stages = ", ".join(f"{s['name'].split()[0]} {s['windows']}" for s in ours.case["stages"])
    share = math.prod(options.window) / PUBLISHED_VOXELS
    note = (
        f"windows of {'x'.join(map(str, options.window))}, {share:.3f} of the published voxels: {stages}; "
        f"{ours.report['runtime']['name']} {ours.report['runtime']['precision']}"
    )
    if not beside:
        memory = Row(f"peak memory, {prompts} prompt(s)", ours.report["peak_mb"], "MB")
        return [Row(f"whole case, {prompts} prompt(s)", ours.seconds, "s", note=note), memory]
    plain = run_apart(case, folder, options)
    with np.load(folder / "ours" / case.name) as mine, np.load(folder / "plain.npz") as theirs:
        same = float((mine["segs"] == theirs["labels"]).mean())
    than = f"torch fp32, {options.threads} threads, {plain['passes']} passes"
    return [
        Row(f"whole case, {prompts} prompt(s)", ours.seconds, "s", plain["seconds"], than, TIME_LIMIT, note),
        Row(
            f"peak memory, {prompts} prompt(s)",
            ours.report["peak_mb"],
            "MB",
            plain["peak_mb"],
            than,
            TIME_LIMIT,
            f"{same:.2%} of voxels have the same label; weights are random, filters only in the engine",
        ),
    ]


def run_apart(case: Path, folder: Path, options: argparse.Namespace) -> dict[str, float]:
    """The plain way in a process of its own, so that its memory is its own."""
    window = [str(n) for n in options.window]
    command = [sys.executable, "-m", "benchmarks.full_size", "--plain", str(case), "--folder", str(folder)]
    more = ["--threads", str(options.threads), "--window", *window]
    done = subprocess.run([*command, *more], check=True, cwd=ROOT, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


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
    convert("medal-s", files, folder / "text.pth", folder, folder / "converted", options)


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


def questions(count: int) -> list[Asked]:
    """Sentences for organs of the vocabulary; what follows them are the other targets."""
    concepts = sorted(load_vocabulary().concepts.values(), key=lambda c: (c.kind != "organ", c.name))
    names = [c.name for c in concepts if c.target and not c.sided]
    return [Asked(name, f"{name} in abdominal CT") for name in names[:count]]


def make_case(folder: Path, window: Sequence[int], windows: int, prompts: int) -> Path:
    """A smooth, noisy volume that takes so many windows in a row along W, on the networks' own spacing."""
    rng = np.random.default_rng(SEED)
    d, h, w = window
    shape = (d, h, w // 2 * (windows + 1))
    axes = np.meshgrid(*(np.linspace(0, 6, n, dtype=np.float32) for n in shape), indexing="ij")
    image = sum(np.sin(axis * rng.uniform(1, 3)) for axis in axes) * 40 + 127
    image = np.clip(image + rng.normal(0, 10, shape), 1, 255).astype(np.uint8)
    texts = {str(i + 1): asked.sentence for i, asked in enumerate(questions(prompts))}
    path = folder / f"CT_made{prompts}.npz"
    np.savez(
        path,
        imgs=image,
        spacing=np.array(SPACING_DHW_MM[::-1]),
        text_prompts=np.array({**texts, "instance_label": 0}, dtype=object),
    )
    return path


def run_plain(case: Path, folder: Path, threads: int, window: Sequence[int]) -> dict[str, float]:
    """The case by the plain way, from its npz to its labels; in the process that is measured."""
    started = now()
    torch.set_num_threads(threads)
    read = read_case(case)
    asked = questions(len(read.sentences))
    bank = QueryModel.load(folder / "converted", _NoRuntime())
    queries = torch.from_numpy(bank.embed(asked).text)[None]
    # (h, w, d), as the published network sees it
    volume = torch.from_numpy(read.image.transpose(1, 2, 0).astype(np.float32))[None, None]
    h, w, d = window[1], window[2], window[0]
    labels, passes = None, 0
    for stage in ("coarse", "fine"):
        model = _network(folder, stage)
        labels, ran = plain_stage(model, volume, queries, labels, (h, w, d))
        passes += ran
        del model
    assert labels is not None
    np.savez(folder / "plain.npz", labels=labels.numpy().transpose(2, 0, 1))
    return {"seconds": now() - started, "peak_mb": peak_mb(), "passes": passes}


@torch.no_grad()
def plain_stage(
    model: MedalS, volume: Tensor, queries: Tensor, labels: Tensor | None, window: tuple[int, int, int]
) -> tuple[Tensor, int]:
    """One stage: (1, 1, h, w, d) -> labels (h, w, d) and the number of passes."""
    count, shape = queries.shape[1], tuple(volume.shape[2:])
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
            logits = complementary(model, patch, queries, prompt, _blocks(window), BLOCK)
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
    from weights.convert.checkpoint import Checkpoint
    from weights.convert.keymap import load

    (file,) = folder.glob(f"{stage}_crop_size_*.pth")
    network = load(Checkpoint(file), "medal-s")
    assert isinstance(network, MedalS)
    return network


class _NoRuntime:
    """The bank is all that the plain way needs of the converted folder."""

    def load(self, path: Path, precision: str | None = None) -> None:
        """Nothing is to be loaded."""
        raise AssertionError(path)


if __name__ == "__main__":
    sys.exit(main())
