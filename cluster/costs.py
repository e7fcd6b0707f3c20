"""What cases are expected to take: voxels x prompts by their headers, of files in a store by their bytes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from vesal.cluster.job import Job
from vesal.cluster.places import local_path, size_of
from vesal.inference.io.formats import CountsPrompts, open_case, suffix_of

CHEAP = (".npz", ".nii.gz", ".nii", ".hdr")
"""Suffixes of files whose shape is in their first bytes, and is read without a further package."""
THREADS = 16
"""Headers, or questions to a store, at once: it is waiting, not work."""


def with_costs(jobs: Sequence[Job]) -> list[Job]:
    """The jobs with their costs, where those are not known already; a scan that cannot be asked has that of
    the others' median. Never raises.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        costs = list(pool.map(_cost, jobs))
    known = sorted(cost for cost in costs if cost)
    usual = known[len(known) // 2] if known else 1.0
    return [replace(job, cost=cost or usual) for job, cost in zip(jobs, costs, strict=True)]


def _cost(job: Job) -> float:
    """Voxels, or bytes, times prompts; 0 where they cannot be had."""
    try:
        path = local_path(job.source)
        if path is None:
            return job.cost or float(size_of(job.source) * max(1, len(job.prompts)))
        if suffix_of(path) in CHEAP:
            return _cost_of_header(path, len(job.prompts))
        return float(_bytes(path) * max(1, len(job.prompts)))
    except Exception:  # the case's own run tells what is wrong
        return 0.0


def _cost_of_header(path: Path, prompts: int) -> float:
    with open_case(path) as reader:
        count = prompts
        if not count and isinstance(reader, CountsPrompts):
            count = reader.count_prompts() or 1
        return float(math.prod(reader.shape or ()) * max(1, count)) if reader.shape else 0.0


def _bytes(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
