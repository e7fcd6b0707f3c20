"""Ways to run a submission: docker, podman, or the script alone; each gives seconds and peak memory."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from vesal.evaluation.errors import EvaluationError
from vesal.evaluation.measure import CgroupWatch, Run, ask, kill_group, timed


class Engine(Protocol):
    """One way to run a submission."""

    @property
    def name(self) -> str:
        """What the report calls it."""

    def command(self, inputs: Path, outputs: Path) -> list[str]:
        """Return the command line of one case."""

    def run(self, inputs: Path, outputs: Path, patience_s: float) -> Run:
        """Run one case; stop it after `patience_s`."""

    def shell(self, line: str) -> tuple[int, str]:
        """Run a shell line where the submission lives; return exit code and output."""


@dataclass(frozen=True)
class ContainerEngine:
    """Docker or podman, with the official command line."""

    binary: str
    image: str
    memory: str = "32G"
    gpu: bool = False
    global_options: tuple[str, ...] = ()
    """Options before the subcommand, such as podman's --runtime."""

    run_options: tuple[str, ...] = ()
    """Options after `run` that the official line does not have."""

    @property
    def name(self) -> str:
        """Name of the engine: docker or podman."""
        return Path(self.binary).name

    @property
    def team(self) -> str:
        """Name of the container: the image's, without registry and tag."""
        return self.image.rsplit("/", 1)[-1].split(":")[0]

    def command(self, inputs: Path, outputs: Path) -> list[str]:
        """Return the official command line (podman names a GPU differently)."""
        gpu: list[str] = []
        if self.gpu:
            gpu = ["--gpus", "device=0"] if self.name == "docker" else ["--device", "nvidia.com/gpu=0"]
        mounts = ["-v", f"{inputs}:/workspace/inputs/", "-v", f"{outputs}:/workspace/outputs/"]
        start = [self.binary, *self.global_options, "container", "run", *self.run_options, *gpu]
        start += ["-m", self.memory, "--name", self.team, "--rm", *mounts, self._reference]
        return [*start, "/bin/bash", "-c", "sh predict.sh"]

    def run(self, inputs: Path, outputs: Path, patience_s: float) -> Run:
        """Run one case in a container, reading its cgroup from outside meanwhile."""
        with tempfile.TemporaryDirectory() as scratch:
            cidfile = Path(scratch) / "cid"
            command = self.command(inputs, outputs)
            at = command.index("run") + 1
            watch = CgroupWatch(cidfile, self.pid)
            with watch:
                run = timed([*command[:at], "--cidfile", str(cidfile), *command[at:]], patience_s, self._kill)
        return replace(run, peak_mb=watch.peak_mb)

    def shell(self, line: str) -> tuple[int, str]:
        """Run a line in a throw-away container of the image."""
        options = [*self.run_options, "--rm", self._reference, "/bin/bash", "-c", line]
        return ask([self.binary, *self.global_options, "container", "run", *options])

    def has_image(self) -> bool:
        """Return whether the engine works and knows the image."""
        return ask([self.binary, *self.global_options, "image", "inspect", self._reference])[0] == 0

    def pid(self, container: str) -> int:
        """Return the host's pid of a container's first process; 0 when it is gone."""
        line = [self.binary, *self.global_options, "inspect", "-f", "{{.State.Pid}}", container]
        code, output = ask(line)
        return int(output) if code == 0 and output.strip().isdigit() else 0

    @property
    def _reference(self) -> str:
        return self.image if ":" in self.image.rsplit("/", 1)[-1] else f"{self.image}:latest"

    def _kill(self, client: subprocess.Popen) -> None:
        ask([self.binary, *self.global_options, "kill", self.team])
        kill_group(client)


@dataclass(frozen=True)
class ProcessEngine:
    """`sh predict.sh IN OUT` without a container."""

    script: Path
    name: str = "process"

    def command(self, inputs: Path, outputs: Path) -> list[str]:
        """Return the command line."""
        return ["sh", str(self.script), str(inputs), str(outputs)]

    def run(self, inputs: Path, outputs: Path, patience_s: float) -> Run:
        """Run one case as a process of its own group, in the folder of the script."""
        return timed(self.command(inputs, outputs), patience_s, kill_group, cwd=self.script.parent)

    def shell(self, line: str) -> tuple[int, str]:
        """Run a line in the folder of the script."""
        return ask(["sh", "-c", line], cwd=self.script.parent)


def choose_engine(
    image: str,
    prefer: str = "auto",
    memory: str = "32G",
    run_options: Sequence[str] = (),
    gpu: bool | None = None,
) -> ContainerEngine:
    """Return the first of docker and podman that works and has the image.

    Args:
        image: name of the image; the tag is latest when none is given.
        prefer: `auto`, `docker` or `podman`.
        memory: limit of the container.
        run_options: further options of `run`.
        gpu: whether to hand over the first GPU; None looks for one.

    Raises:
        EvaluationError: none works, or none has the image.
    """
    names = ("docker", "podman") if prefer == "auto" else (prefer,)
    found = [path for path in map(shutil.which, names) if path]
    if not found:
        raise EvaluationError(f"neither of {', '.join(names)} is installed; use --engine process")
    working = []
    for binary in found:
        options = _runtime_options(binary)
        if ask([binary, *options, "info"])[0] != 0:
            continue
        has_gpu = Path("/dev/nvidia0").exists() if gpu is None else gpu
        engine = ContainerEngine(binary, image, memory, has_gpu, options, tuple(run_options))
        working.append(engine.name)
        if engine.has_image():
            return engine
    if not working:
        raise EvaluationError(f"{', '.join(found)} does not run here (no daemon?); use --engine process")
    raise EvaluationError(
        f"{' and '.join(working)} has no image {image}; build it, or load its archive, first"
    )


def _runtime_options(binary: str) -> tuple[str, ...]:
    """Podman prefers crun; where only runc is installed it has to be told."""
    only_runc = shutil.which("crun") is None and shutil.which("runc") is not None
    return ("--runtime", "runc") if Path(binary).name == "podman" and only_runc else ()
