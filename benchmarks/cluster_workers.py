"""Workers and cases for the benchmarks of `vesal batch`; workers are made in processes of Ray, so by name."""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.fakes import Balls, covering, fake_model
from vesal.cluster.job import Job
from vesal.cluster.options import WorkerOptions
from vesal.cluster.places import write_bytes
from vesal.cluster.record import Record, record_place
from vesal.cluster.worker import CaseWorker
from vesal.inference.api import Model
from vesal.inference.data.results import OK, SKIPPED
from vesal.inference.planning.weights_folder import WEIGHTS
from vesal.inference.runner.settings import Settings

SECONDS = "VESAL_BENCHMARK_SECONDS"
"""Variable with the seconds that a case sleeps beside its work, for workers of this machine."""


class SleepWorker:
    """Sleeps as many seconds as a case costs; writes a small file for a label map, and the record."""

    def __init__(self, options: WorkerOptions) -> None:
        """Of the options, name and output are used."""
        self._options = options

    def fetch(self, job: Job) -> None:
        """Nothing has to be brought."""

    def drop(self, job: Job) -> None:
        """Nothing was."""

    def run(self, job: Job, attempt: int = 1) -> Record:
        """Sleep, and write."""
        started = time.monotonic()
        path = Path(job.output)
        if path.exists():
            return Record(job.name, job.source, job.output, SKIPPED)
        time.sleep(job.cost)
        content = job.name.encode()
        write_bytes(job.output, content)
        digest = hashlib.sha256(content).hexdigest()
        seconds, worker = time.monotonic() - started, self._options.worker
        done = Record(job.name, job.source, job.output, OK, attempts=attempt, sha256=digest)
        record = replace(done, seconds=seconds, worker=worker)
        write_bytes(record_place(self._options.output, job.name), record.to_json().encode())
        return record

    def close(self) -> None:
        """Nothing is left."""


class SteadyBalls(Balls):
    """A network whose result hangs on its inputs alone."""

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """See `Balls`."""
        self.calls = 0
        return super().__call__(inputs)


class SlowWorker(CaseWorker):
    """The worker as it is, and some seconds of sleep a case, so that there is something to kill."""

    def run(self, job: Job, attempt: int = 1) -> Record:
        """See `CaseWorker`."""
        time.sleep(float(os.environ.get(SECONDS, "0")))
        return super().run(job, attempt)


def fake_worker(options: WorkerOptions) -> CaseWorker:
    """A worker whose network costs nothing."""
    return SlowWorker(options, fake_network)


def fake_network(settings: Settings) -> Model:
    """A model that finds balls."""
    return fake_model(covering(WEIGHTS / settings.weights), SteadyBalls())


def write_cases(folder: Path, count: int, side: int, prompts: tuple[str, ...], out: str) -> list[Job]:
    """Scans of about ``side`` voxels a side in slices of three thicknesses, no two alike, in ``folder/in``;
    results go to ``folder/OUT``.
    """
    (folder / "in").mkdir(parents=True, exist_ok=True)
    (folder / out).mkdir(exist_ok=True)
    jobs = []
    for number in range(count):
        name = f"c{number:05}"
        source = folder / "in" / f"{name}.npz"
        if not source.exists():
            _write_case(source, number, side, prompts)
        output = folder / out / f"{name}_seg.npz"
        jobs.append(Job(name, str(source), str(output), prompts, "CT", float(side**3)))
    return jobs


def _write_case(path: Path, number: int, side: int, prompts: tuple[str, ...]) -> None:
    rng = np.random.default_rng(number)
    image = rng.integers(0, 120, (side, side + 2 * (number % 3), side), np.uint8)
    image[side // 4 : side // 2, side // 4 : side // 2, side // 3 : side // 2] += 100
    # Slices as thick as pixels, and thicker: each degree of anisotropy has a graph, read when first met.
    spacing = np.array([2.0, 2.0, (2.0, 5.0, 9.0)[number // 3 % 3]])
    asked = {str(n): text for n, text in enumerate(prompts, 1)} | {"instance_label": 0}
    np.savez_compressed(path, imgs=image, spacing=spacing, text_prompts=np.array(asked, object))


def load_text() -> str:
    """What else runs here, to stand beside a figure."""
    return f"load before {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors"
