"""Small cases by two workers and by one process: `python -m benchmarks.cluster_speed [--cases 500]`.

Whole commands with the default weights, in turn: `vesal batch --workers 0 --threads 2`, `--workers 2
--threads 1` and `--workers 1 --threads 2`. Cases a minute are of the command from its start to its end; ms a
case are from the first records to the last one, so without any start: what the third takes more than the
first is Ray's share. The best of the rounds counts. Scans are drawn, or with `--like` those of a folder again
and again with other noise: in drawn ones nothing is found, so the search for their orientation is in.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.cluster_workers import load_text, write_cases
from benchmarks.measure import ROOT
from vesal.inference.io.formats import read_case

PROMPTS = ("Liver in abdominal CT", "Spleen in abdominal CT")
WAYS = {
    "one process of two threads": ("--workers", "0", "--threads", "2"),
    "two workers of one thread": ("--workers", "2", "--threads", "1"),
    "one worker of two threads": ("--workers", "1", "--threads", "2"),
}
WANTED_RATIO, WANTED_MS = 1.25, 15.0


@dataclass(frozen=True)
class Taken:
    """One command."""

    whole_s: float
    case_ms: float


def command(folder: Path, count: int, way: tuple[str, ...]) -> Taken:
    """Run it on the scans of a folder, from nothing."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    line = [sys.executable, "-m", "vesal", "batch", "-q", "-i", str(folder / "in"), "-o", str(out), *way]
    started = time.monotonic()
    subprocess.run(line, check=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)})
    whole_s = time.monotonic() - started
    ends = sorted(path.stat().st_mtime for path in (out / "batch" / "cases").glob("*.json"))
    if len(ends) != count:
        raise RuntimeError(f"{len(ends)} records of {count} cases")
    skip = min(4, count // 2)  # the first ones open the model
    return Taken(whole_s, 1e3 * (ends[-1] - ends[skip]) / (count - 1 - skip))


def write_like(folder: Path, count: int, like: Path) -> None:
    """Challenge cases of ``like`` in turn, each time with other noise, to ``folder/in``."""
    (folder / "in").mkdir()
    sources = sorted(like.glob("*.npz"))
    if not sources:
        raise FileNotFoundError(f"{like} has no .npz")
    for number, path in zip(range(count), itertools.cycle(sources)):
        case = read_case(path)
        noise = np.random.default_rng(number).integers(-1, 2, case.image.shape)
        asked = {str(n): text for n, text in case.sentences.items()} | {"instance_label": int(case.instance)}
        np.savez_compressed(
            folder / "in" / f"c{number:05}.npz",
            imgs=np.clip(case.image + noise, 0, 255).astype(np.uint8),
            spacing=np.array(case.spacing_dhw_mm[::-1]),
            text_prompts=np.array(asked, object),
        )


def main() -> None:
    """Run all ways in turn, and print what they took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--side", type=int, default=48, help="voxels of a scan's side")
    parser.add_argument("--like", type=Path, help="folder of challenge cases")
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    print(load_text())
    best: dict[str, Taken] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if given.like:
            write_like(folder, given.cases, given.like)
        else:
            write_cases(folder, given.cases, given.side, PROMPTS, "out")
        for _ in range(given.rounds):
            for way, options in WAYS.items():
                taken = command(folder, given.cases, options)
                best[way] = min(best.get(way, taken), taken, key=lambda each: each.whole_s)
                print(f"  {way}: {taken.whole_s:.1f} s, {taken.case_ms:.1f} ms a case", flush=True)
    plain, two, one = best.values()
    print("| way | cases a minute | ms a case |\n|---|---|---|")
    for way, taken in best.items():
        print(f"| {way} | {60 * given.cases / taken.whole_s:.0f} | {taken.case_ms:.1f} |")
    print(f"two workers against one process: {plain.whole_s / two.whole_s:.2f} (wanted >= {WANTED_RATIO})")
    print(f"without starts: {plain.case_ms / two.case_ms:.2f}")
    print(f"Ray's share of a case: {one.case_ms - plain.case_ms:.1f} ms (wanted <= {WANTED_MS:g})")


if __name__ == "__main__":
    main()
