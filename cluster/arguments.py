"""The command line of `vesal batch`."""

from __future__ import annotations

import argparse
import re
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vesal.cluster.schedule import HANG_S
from vesal.inference.data.errors import UsageError
from vesal.inference.runner.settings import Settings

EXAMPLES = """\
  vesal batch -i scans -o results -p liver spleen --workers 4
  vesal batch -i 's3://bucket/ct/**/*.nii.gz' -o s3://bucket/results -p liver --workers 8
  vesal batch -i cases.csv -o results --ray 10.0.0.5:6379 --workers 64
  vesal batch -i cases.csv -o results --shard 3/16      (a task of an array job)
  vesal batch -i cases.csv -o results --merge           (after all tasks)

A run that is started again goes on where it was. Keys of stores come from the environment alone. See
docs/cluster.md. Exit code: 0 all good, 1 a case failed, fell back or was not run, 2 wrong usage, 130 stopped
from the keyboard, 143 SIGTERM."""


@dataclass(frozen=True)
class BatchOptions:
    """The command line, checked."""

    inputs: tuple[str, ...]
    output: str
    prompts: tuple[str, ...]
    modality: str | None
    instances: bool
    settings: Settings
    workers: int
    """0: in this process, without Ray."""
    ray: str | None
    """Address of a cluster that runs; None: one of this machine alone is started."""
    gpus: float
    """Of Ray, for each worker."""
    hang_s: float
    """After which a case of a worker is taken to hang."""
    shard: tuple[int, int] | None
    """Number, from 1 on, and how many there are."""
    merge: bool
    scratch: Path | None
    verbosity: int


def read_options(arguments: Sequence[str]) -> BatchOptions:
    """The options; `-h` prints and raises SystemExit(0). Raises UsageError."""
    given = make_parser().parse_args(list(arguments))
    shard = None if given.shard is None else _shard(given.shard)
    _check(given, shard)
    settings = Settings(weights=given.weights, threads=given.threads, runtime=given.runtime)
    workers = given.workers if given.workers is not None else int(given.ray is not None)
    return BatchOptions(
        tuple(given.input or ()),
        given.output,
        tuple(given.prompt or ()),
        given.modality,
        given.instances,
        settings,
        workers,
        given.ray,
        given.gpus or 0.0,
        HANG_S if given.hang_after is None else given.hang_after,
        shard,
        given.merge,
        given.scratch,
        given.verbose - given.quiet,
    )


def make_parser() -> argparse.ArgumentParser:
    """The parser; it raises UsageError where argparse would leave the program."""
    parser = _Parser(
        prog="vesal batch",
        description="Segment thousands of scans: here, on a cluster of Ray, or as an array job.",
        epilog=f"examples:\n{EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    several = {"nargs": "+", "action": "extend"}
    parser.add_argument(
        *("-i", "--input"),
        metavar="MANIFEST|FOLDER|GLOB",
        help="folder tree, pattern in quotes, scan, or table (CSV, TSV, Parquet: path, prompts with ; "
        "between them, modality, output); a path, or a URL of s3, gs, az, http or https",
        **several,  # type: ignore[arg-type]
    )
    parser.add_argument(
        *("-o", "--output"),
        required=True,
        metavar="OUT",
        help="folder, or URL of one, for the label maps; records, table and page go into batch/ below it",
    )
    parser.add_argument(
        *("-p", "--prompt"),
        help="what to look for in all scans, where the table does not say it",
        **several,  # type: ignore[arg-type]
    )
    parser.add_argument("--instances", action="store_true", help="every object gets a value of its own")
    parser.add_argument("--modality", help="CT, MR, US, PET or Microscopy, where the table does not say it")
    parser.add_argument("--weights", default="nano", help="weights, by name or folder (default: nano)")
    parser.add_argument("--threads", type=int, help="CPU threads of a worker")
    parser.add_argument("--runtime", default="auto", help="auto, openvino, onnxruntime or cuda")
    parser.add_argument(
        "--workers", type=int, help="processes, by Ray; 0 (the default without --ray): this one, without Ray"
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="a cluster of Ray that runs, or auto")
    parser.add_argument(
        "--gpus",
        type=float,
        help="GPUs of a worker, as Ray counts them; 0.25 is a quarter of one",
    )
    parser.add_argument(
        "--hang-after",
        type=float,
        metavar="SECONDS",
        help="when a worker is taken to hang and its case is tried elsewhere (default: 1800, or 20 times as "
        "long as expected)",
    )
    parser.add_argument(
        "--shard", metavar="I/N", help="run the I-th of N parts, without Ray; 1/N is the first"
    )
    parser.add_argument(
        "--merge", action="store_true", help="run nothing: make table and page of the records that are there"
    )
    parser.add_argument(
        "--scratch", type=Path, metavar="FOLDER", help="where remote scans are kept meanwhile, two a worker"
    )
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log each case; -vv more")
    parser.add_argument("-q", "--quiet", action="count", default=0, help="log warnings only, no bar")
    return parser


class _Parser(argparse.ArgumentParser):
    """argparse that raises UsageError instead of exiting."""

    def error(self, message: str) -> typing.NoReturn:
        """Raise UsageError with argparse's message and a hint."""
        raise UsageError(f"{message}; `{self.prog} --help` lists the options.")


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([0-9]{1,7})/([0-9]{1,7})", text.strip())
    number, shards = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= shards:
        raise UsageError(f"--shard is {text!r}; give I/N with I from 1 to N, such as 3/16.")
    return number, shards


def _check(given: argparse.Namespace, shard: tuple[int, int] | None) -> None:
    """Raise UsageError for what does not go together."""
    if not given.input and not given.merge:
        raise UsageError("nothing says which scans; give -i, a folder, a pattern or a table.")
    if given.workers is not None and given.workers < 0:
        raise UsageError(f"--workers is {given.workers}; give 0 or more.")
    if given.ray is not None and given.ray.strip() in ("", "local"):
        raise UsageError(
            f"--ray is {given.ray!r}; give the address of a cluster that runs, such as 10.0.0.5:6379, or "
            "auto. --workers alone starts one on this machine."
        )
    if given.workers == 0 and given.ray is not None:
        raise UsageError("--workers 0 is without Ray, and --ray is given; leave one out.")
    if shard is not None and (given.workers or given.ray is not None):
        raise UsageError("--shard is one process of an array job; leave --workers and --ray out.")
    if given.merge and (shard is not None or given.workers or given.ray is not None):
        raise UsageError("--merge runs nothing; leave --shard, --workers and --ray out.")
    if not given.workers and given.ray is None and (given.hang_after, given.gpus) != (None, None):
        raise UsageError("--hang-after and --gpus are of workers by Ray; give --workers, or leave them out.")
    if given.hang_after is not None and not given.hang_after > 0:
        raise UsageError(f"--hang-after is {given.hang_after}; give seconds above 0.")
    if given.gpus is not None and not 0 <= given.gpus < float("inf"):
        raise UsageError(f"--gpus is {given.gpus}; give 0 or more.")
    if given.scratch is not None and given.scratch.exists() and not given.scratch.is_dir():
        raise UsageError(f"--scratch is {given.scratch}, which is no folder; give one, or a new one's path.")
    if any(not sentence.strip() for sentence in given.prompt or ()):
        raise UsageError("a prompt of -p is blank; give words, such as -p liver.")
