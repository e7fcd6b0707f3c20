"""What a worker has to know of a run."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from vesal.inference.runner.settings import Settings


@dataclass(frozen=True)
class WorkerOptions:
    """The same for all workers of a run but for ``worker``; plain, so that it can be sent to one."""

    output: str
    """Folder or URL of the label maps; the records are below it."""
    settings: Settings = field(default_factory=Settings)
    """Weights, threads, runtime: what `vesal -i` is given beside scans and prompts."""
    instances: bool = False
    """Whether every object gets a value of its own, where a job has sentences."""
    worker: str = "plain"
    """Name in the records."""
    scratch: Path | None = None
    """Folder for scans that are brought here, two at a time; None: the system's."""

    def of_worker(self, name: str, threads: int | None = None) -> WorkerOptions:
        """The options of one worker."""
        settings = self.settings if threads is None else replace(self.settings, threads=threads)
        return replace(self, worker=name, settings=settings)
