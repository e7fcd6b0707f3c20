"""What benchmarks of one network of its full size share: their command line, and processes of their own."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.biomedparse_v import AVX2
from benchmarks.measure import ROOT, as_in_a_container, count_processor_time
from benchmarks.tables import Row, finish, markdown
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


def run_sides(
    parser: argparse.ArgumentParser,
    made: str,
    tables: Callable[[Path, argparse.Namespace], dict[str, list[Row]]],
    arguments: list[str] | None = None,
) -> int:
    """Make the networks, run both ways, print the tables; returns 1 where a limit is not kept.

    Args:
        parser: of ``side_parser``; its program is `python -m MODULE`, and MODULE_torch makes the networks.
        made: a file that is in their folder when they are made.
        tables: titles and rows, of the networks in a folder.
        arguments: of the command line; None for this process's.
    """
    module = parser.prog.rpartition(" ")[2]
    options = parser.parse_args(arguments)
    ended = with_avx2(module, options, arguments or sys.argv[1:])
    if ended is not None:
        return ended
    prepare(options)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        if not (folder / made).is_file():
            apart(f"{module}_torch", "make", folder, options)
        found = tables(folder, options)
    print(f"{processor()}{', AVX2 alone' if options.avx2 else ''}\n")
    for title, rows in found.items():
        print(markdown(title, rows))
    return finish(found, options.json)
