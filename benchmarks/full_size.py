"""Medal S at its full size in this engine, and the plain way: `python -m benchmarks.full_size`.

Both run the same network (109.4 M parameters, random from a seed), the same case and the same windows, one
after the other, each in a process of its own. The plain way is what the published code does on a CPU: torch
in fp32, the whole network for every window, zero prompts where there are none, an accumulator for every class
over the whole grid, the largest of them in the end. Absolute times depend on the machine; figures are ratios
of one run.

Further rows set a window whose prompts are decoded in groups beside one that decodes them all at once.

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
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import as_in_a_container, predict, side_by_side
from benchmarks.tables import Row, finish, markdown
from vesal.inference.data.prompt import Query
from vesal.inference.data.terms import FINE
from vesal.inference.families.contract import Window
from vesal.inference.families.query import QueryModel
from vesal.inference.planning.profile import read_profile
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.inference.runtime.choice import choose_runtime
from vesal.inference.runtime.machine import processor

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED_VOXELS = 128 * 224 * 224
SPACING_DHW_MM = (3.0, 1.5, 1.5)
SEED = 20
TIME_LIMIT, MEMORY_LIMIT = 0.3, 0.6
"""Ratios to the plain way; that of time where the processor has bf16, else it is not limited."""
GROUP, GROUPS_LIMIT = 5, 1.15
"""Prompts of a group, and what all groups may take of the network's time for one group of all prompts."""


def main(arguments: list[str] | None = None) -> int:
    """Make network and case, run both, print the table; return 1 where a limit is not kept."""
    parser = argparse.ArgumentParser("python -m benchmarks.full_size", description=__doc__.split("\n")[0])
    parser.add_argument("--window", type=int, nargs=3, default=(96, 96, 96), help="D H W, multiples of 32")
    parser.add_argument("--windows", type=int, default=2, help="in a row, overlapping by half")
    parser.add_argument(
        "--prompts", type=int, nargs="+", default=[15, 20, 1], help="a run of the engine each"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--narrow", type=int, default=1, help="divide all widths, to try this file out")
    parser.add_argument("--store", choices=("fp16", "fp32"), default="fp16")
    parser.add_argument("--folder", type=Path, help="keep the converted network here, or find it here")
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        if not (folder / "converted" / "manifest.json").is_file():
            apart("make", folder, options)
        rows = [r for n in options.prompts for r in measured(folder, n, n == options.prompts[0], options)]
        rows += in_groups(folder, options.prompts[0], options)
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
    stages = ", ".join(f"{s['stage']} {s['windows']}" for s in ours.case["stages"])
    share = math.prod(options.window) / PUBLISHED_VOXELS
    note = (
        f"windows of {'x'.join(map(str, options.window))}, {share:.3f} of the published voxels: {stages}; "
        f"{ours.report['runtime']['name']} {ours.report['runtime']['precision']}"
    )
    if not beside:
        memory = Row(f"peak memory, {prompts} prompt(s)", ours.report["peak_mb"], "MB")
        return [Row(f"whole case, {prompts} prompt(s)", ours.seconds, "s", note=note), memory]
    plain = json.loads(apart("plain", folder, options, case))
    ran = {stage["stage"]: stage["windows"] for stage in ours.case["stages"]}
    # A prompted window is seen twice, with complementary halves of its prompts.
    if plain["passes"] != ran["coarse"] + 2 * ran["fine"]:
        raise RuntimeError(f"the plain way made {plain['passes']} passes, the engine saw {stages} windows")
    with np.load(folder / "ours" / case.name) as mine, np.load(folder / "plain.npz") as theirs:
        same = float((mine["segs"] == theirs["labels"]).mean())
    limit = TIME_LIMIT if ours.report["runtime"]["precision"] == "bf16" else None
    than = f"torch fp32, {options.threads} threads, {plain['passes']} passes"
    return [
        Row(f"whole case, {prompts} prompt(s)", ours.seconds, "s", plain["seconds"], than, limit, note),
        Row(
            f"peak memory, {prompts} prompt(s)",
            ours.report["peak_mb"],
            "MB",
            plain["peak_mb"],
            than,
            MEMORY_LIMIT,
            f"{same:.2%} of voxels have the same label; weights are random, filters only in the engine",
        ),
    ]


def in_groups(folder: Path, prompts: int, options: argparse.Namespace) -> list[Row]:
    """Network time of one window whose prompts are decoded in groups, against all of them at once."""
    as_in_a_container(options.threads)
    runtime = choose_runtime(threads=options.threads)
    model = QueryModel.open(read_profile(folder / "converted", check_digests=False), runtime)
    stage, asked = model.stage(FINE), model.encode_prompts(questions(prompts))
    rng = np.random.default_rng(SEED)
    image = rng.uniform(0, 255, (1, *options.window)).astype(np.float32)
    masks = rng.random((prompts, *options.window), np.float32) > 1 - 1 / prompts

    def run(spatial: np.ndarray | None, group: int) -> None:
        encoded = stage.encode(Window(image, 0, prompted=spatial is not None))
        for first in range(0, prompts, group):
            rows = range(first, min(prompts, first + group))
            stage.decode(encoded, asked.part(rows), None if spatial is None else spatial[list(rows)], None)

    found = []
    for what, spatial in (("without", None), ("with", masks)):
        run(spatial, prompts)  # reads and compiles the graphs
        calls = [partial(run, spatial, GROUP), partial(run, spatial, prompts)]
        groups, one = (ms / 1e3 for ms in side_by_side(calls, times=2))
        name = f"{prompts} prompts in groups of {GROUP}, a window {what} spatial prompts"
        # With spatial prompts the features hang on all that are asked together: each group is encoded anew.
        limit = GROUPS_LIMIT if spatial is None else None
        found.append(Row(name, groups, "s", one, "network time of one group", limit))
        stage.release()
    return found


def apart(what: str, folder: Path, options: argparse.Namespace, case: Path | None = None) -> bytes:
    """What torch does, in a process of its own: a child's peak memory is never less than its parent's."""
    command = [sys.executable, "-m", "benchmarks.full_size_torch", what, "--folder", str(folder)]
    for name in ("window", "threads", "narrow", "store"):
        value = getattr(options, name)
        command += [f"--{name}", *(str(n) for n in (value if name == "window" else (value,)))]
    command += [] if case is None else ["--case", str(case)]
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE).stdout


def questions(count: int) -> list[Query]:
    """Sentences for organs of the vocabulary; what follows them are the other targets."""
    concepts = sorted(load_vocabulary().concepts.values(), key=lambda c: (c.kind != "organ", c.name))
    chosen = [(c.name, c.kind) for c in concepts if c.target and not c.sided][:count]
    return [
        Query(number, name, name, None, "CT", kind, f"{name} in abdominal CT")
        for number, (name, kind) in enumerate(chosen, 1)
    ]


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


if __name__ == "__main__":
    sys.exit(main())
