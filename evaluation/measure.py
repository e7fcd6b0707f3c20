"""Measure a command: seconds, peak memory, the end of what it says."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

CALL_TIMEOUT_S = 60
"""For short questions to an engine; a hanging daemon must not hang the check."""

POLL_S = 0.1
TAIL_BYTES = 4000


Kill = Callable[[subprocess.Popen], None]


@dataclass(frozen=True)
class Run:
    """What one run was like."""

    seconds: float
    exit_code: int
    peak_mb: float | None
    """Peak memory in MiB: of the container's cgroup, page cache included, or without a container of
    its largest process. None when it could not be read."""

    tail: str
    """The end of stdout and stderr."""

    killed: bool = False
    """Whether the patience ended before the run did."""


def ask(command: Sequence[str], cwd: Path | None = None) -> tuple[int, str]:
    """Run a short command; return exit code and output. A missing program gives 127, a hanging one 124."""
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=CALL_TIMEOUT_S,
            check=False,
            cwd=cwd,
            errors="replace",
        )
    except FileNotFoundError:
        return 127, f"{command[0]}: not found"
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]}: no answer in {CALL_TIMEOUT_S} s"
    return done.returncode, done.stdout + done.stderr


def timed(command: Sequence[str], patience_s: float, kill: Kill, cwd: Path | None = None) -> Run:
    """Run a command in a session of its own; time it, and take the peak memory of its processes."""
    with tempfile.TemporaryFile() as log:
        start = time.monotonic()
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=cwd,
        )
        late = threading.Event()

        def stop() -> None:
            late.set()
            kill(process)

        timer = threading.Timer(patience_s, stop)
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:  # interrupted: a session of its own does not hear of it
            kill(process)
            raise
        finally:
            timer.cancel()
        seconds = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        log.seek(max(0, log.seek(0, os.SEEK_END) - TAIL_BYTES))
        tail = log.read().decode(errors="replace")
    return Run(seconds, process.returncode, usage.ru_maxrss / 1024, tail, late.is_set())


def kill_group(process: subprocess.Popen) -> None:
    """Kill a process and all of its group, if it still lives."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class CgroupWatch:
    """Reads a container's peak memory from the host's cgroup files until the container is gone."""

    def __init__(self, cidfile: Path, pid_of: Callable[[str], int]) -> None:
        """Watch the container whose id appears in `cidfile`; `pid_of` gives its first process or 0."""
        self.peak_mb: float | None = None
        self._cidfile, self._pid_of = cidfile, pid_of
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> CgroupWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        file = None
        while not self._over.wait(POLL_S):
            if file is None:
                file = self._find()
            with contextlib.suppress(OSError, ValueError):
                if file is not None:
                    self.peak_mb = max(self.peak_mb or 0.0, int(file.read_text()) / 2**20)

    def _find(self) -> Path | None:
        with contextlib.suppress(OSError):
            container = self._cidfile.read_text().strip()
            pid = self._pid_of(container) if container else 0
            return peak_file(Path(f"/proc/{pid}/cgroup").read_text()) if pid else None
        return None


def peak_file(cgroups: str, root: Path = Path("/sys/fs/cgroup")) -> Path | None:
    """Return the file with a process's peak memory, from its /proc/PID/cgroup; None without one."""
    for line in cgroups.splitlines():
        _, controllers, path = line.split(":", 2)
        if "memory" in controllers.split(","):
            file = root / "memory" / path.lstrip("/") / "memory.max_usage_in_bytes"
        elif not controllers:
            file = root / path.lstrip("/") / "memory.peak"
        else:
            continue
        if file.is_file():
            return file
    return None
