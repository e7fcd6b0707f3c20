"""What this process may use: instruction sets, processors, memory, within its container's limits.

A container sees all processors and all memory of its host in `/proc`; its limits are in its control
group. Both generations are read: version 2 (`cpu.max`, `memory.max`) and version 1 (`cpu.cfs_quota_us`,
`memory.limit_in_bytes`).
"""

import math
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

MB = 1024 * 1024
_CGROUPS = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_NO_LIMIT = 1 << 60
"""Version 1 writes `no limit` as the largest page-aligned number, which is above this."""


@dataclass(frozen=True)
class Processor:
    """The processor as the report names it."""

    name: str
    threads: int
    bf16: bool
    instructions: tuple[str, ...]
    memory_mb: int | None


@cache
def processor() -> Processor:
    """Describe the machine once per process."""
    facts = _cpu_facts()
    flags = frozenset(facts.get("flags", facts.get("Features", "")).split())
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")
    memory = memory_limit()
    return Processor(
        name=facts.get("model name", facts.get("Processor", "unknown")),
        threads=available_threads(),
        bf16=has_bf16(flags),
        instructions=tuple(flag for flag in wanted if flag in flags),
        memory_mb=None if memory is None else memory // MB,
    )


def has_bf16(flags: frozenset[str]) -> bool:
    """Whether the processor multiplies bfloat16 itself; emulated it would be slower than float32."""
    return bool(flags & {"avx512_bf16", "amx_bf16"})


def available_threads(requested: int | None = None) -> int:
    """Threads worth starting: as many as requested, but never above affinity and CPU quota; at least 1."""
    limits = [_affinity()]
    quota = cpu_quota()
    if quota is not None:
        # 1.5 processors: two threads, each waiting a quarter of the time, finish sooner than one.
        limits.append(math.ceil(quota))
    if requested is not None:
        limits.append(requested)
    return max(1, min(limits))


def cpu_quota(root: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> float | None:
    """Processors' worth of time that the tightest control group allows; None without a limit.

    The groups of this process are read once: threads are counted before every parallel call.
    """
    return _quota_here() if (root, membership) == (_CGROUPS, _MEMBERSHIP) else _tightest(root, membership)


@cache
def _quota_here() -> float | None:
    return _tightest(_CGROUPS, _MEMBERSHIP)


def _tightest(root: Path, membership: Path) -> float | None:
    shares = []
    for folder in _groups("cpu", root, membership):
        quota, period = _quota(folder)
        if quota > 0 and period > 0:
            shares.append(quota / period)
    return min(shares, default=None)


def memory_limit(root: Path = _CGROUPS, membership: Path = _MEMBERSHIP) -> int | None:
    """Bytes this process may use: tightest control group or machine; None where neither is known."""
    limits = []
    for folder in _groups("memory", root, membership):
        for name in ("memory.max", "memory.limit_in_bytes"):
            text = _read(folder / name).strip()
            if text.isdigit() and int(text) < _NO_LIMIT:
                limits.append(int(text))
    try:
        limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError):
        return min(limits, default=None)
    return min(limits)


def peak_mb(status: Path = Path("/proc/self/status")) -> float:
    """Peak resident memory of this process since it began its program, in MB.

    The kernel's `VmHWM`; `ru_maxrss`, the fallback, is never below that of the process
    that started this one.
    """
    try:
        lines = status.read_text().splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _affinity() -> int:
    """Processors that the scheduler may put this process on."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def _groups(controller: str, root: Path, membership: Path) -> Iterator[Path]:
    """Folders of the control groups this process is in, from its own up to the root, for one controller.

    Inside a container the path that the membership names may not exist; then the mounted root is the own
    group.
    """
    for line in _read(membership).splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names and controller not in names.split(","):
            continue
        places = (root / names, root / controller) if names else (root, root / "unified")
        base = next((place for place in places if place.is_dir()), None)
        if base is None:
            continue
        own = base / path.lstrip("/")
        yield from (
            folder for folder in (own, *own.parents) if folder.is_relative_to(base) and folder.is_dir()
        )


def _quota(folder: Path) -> tuple[float, float]:
    """(quota, period) of a control group in microseconds; (0, 0) where it has no limit."""
    text = _read(folder / "cpu.max") or " ".join(
        _read(folder / name).strip() for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    )
    try:
        quota, period = map(float, text.split())
    except ValueError:
        return 0.0, 0.0
    return quota, period


def _cpu_facts() -> dict[str, str]:
    """First processor of `/proc/cpuinfo` as key -> value."""
    first = _read(Path("/proc/cpuinfo")).partition("\n\n")[0]
    pairs = (line.partition(":") for line in first.splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _read(path: Path) -> str:
    """The text of a small file of the kernel; empty where it cannot be read."""
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
