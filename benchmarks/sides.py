"""What benchmarks of one network of its full size share: their command line, and processes of their own."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.biomedparse_v import AVX2
from benchmarks.measure import ROOT, as_in_a_container, count_processor_time
from vesal.inference.runtime.machine import processor


def side_parser(module: str, about: str, known: Sequence[str]) -> argparse.ArgumentParser:
    """The command line of ``python -m MODULE``; ``known`` are the precisions that it has limits for."""
    parser = argparse.ArgumentParser(f"python -m {module}", description=about)
    parser.add_argument("--prompts", type=int, nargs="+", default=[1, 15])
    parser.add_argument("--precision", choices=tuple(known), nargs="+", help="all that the processor has")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--times", type=int, default=3, help="goes of each, of which the best counts")
    parser.add_argument("--narrow", type=int, default=1, help="divide all widths, to try this file out")
    parser.add_argument("--avx2", action="store_true")
    parser.add_argument("--processor-time", action="store_true")
    parser.add_argument("--folder", type=Path, help="keep the network and its graphs here, or find them here")
    parser.add_argument("--json", type=Path, help="file for the figures")
    return parser


def with_avx2(module: str, options: argparse.Namespace, arguments: Sequence[str]) -> int | None:
    """Run the command again with the instructions of AVX2 alone where that is wanted and not so yet.

    Libraries read it when they are loaded. Returns the exit code; None where this process goes on.
    """
    if not options.avx2 or os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2":
        return None
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, check=False, cwd=ROOT, env=os.environ | AVX2).returncode


def prepare(options: argparse.Namespace) -> None:
    """Threads and clock as the command line says; before numpy is imported."""
    if options.processor_time:
        count_processor_time()
    as_in_a_container(options.threads)


def precisions(options: argparse.Namespace) -> list[str]:
    """What is run; without bf16 where the processor has none, or may not use it."""
    if options.precision:
        return list(options.precision)
    return ["bf16", "fp32"] if processor().bf16 and not options.avx2 else ["fp32"]


def apart(module: str, what: str, folder: Path, options: argparse.Namespace, *more: str) -> bytes:
    """What needs a process of its own: a child's peak memory is never less than its parent's."""
    command = [sys.executable, "-m", module, what, str(folder), *more]
    for name in ("threads", "narrow", "window", "runtime"):
        if hasattr(options, name):
            command += [f"--{name}", str(getattr(options, name))]
    return subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE).stdout
