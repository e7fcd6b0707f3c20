"""Limits of the container, read from made control groups of both generations."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.inference.fakes import write_case
from tests.inference.runner.hanging import hanging_command
from vesal.inference.runtime import machine as processor
from vesal.inference.runtime.machine import available_threads, cpu_quota, has_bf16, memory_limit, peak_mb

GB = 1024**3
ROOT = Path(__file__).resolve().parents[3]


def write(path: Path, text: str) -> None:
    """Write a file of a control group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_quota_of_version_2_takes_the_tightest_group(tmp_path: Path) -> None:
    """The own group allows 4 processors, the one above 1.5, the root none: 1.5."""
    membership, root = tmp_path / "membership", tmp_path / "cgroup"
    write(membership, "0::/pod/container\n")
    write(root / "pod/container/cpu.max", "400000 100000\n")
    write(root / "pod/cpu.max", "150000 100000\n")
    write(root / "cpu.max", "max 100000\n")
    assert cpu_quota(root, membership) == 1.5


def test_quota_of_version_1_is_found_at_the_mount(tmp_path: Path) -> None:
    """Inside a container the named path is not mounted; the mount itself is the container's group."""
    membership, root = tmp_path / "membership", tmp_path / "cgroup"
    write(membership, "4:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n")
    write(root / "cpu,cpuacct/cpu.cfs_quota_us", "200000\n")
    write(root / "cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    write(root / "memory/memory.limit_in_bytes", f"{GB}\n")
    assert cpu_quota(root, membership) == 2.0
    assert memory_limit(root, membership) == GB


def test_no_quota_is_none(tmp_path: Path) -> None:
    """-1 is version 1's word for no limit, max is version 2's; no file at all means none either."""
    membership, root = tmp_path / "membership", tmp_path / "cgroup"
    write(membership, "4:cpu:/\n0::/\n")
    assert cpu_quota(root, membership) is None
    write(root / "cpu/cpu.cfs_quota_us", "-1\n")
    write(root / "cpu/cpu.cfs_period_us", "100000\n")
    write(root / "cpu.max", "max 100000\n")
    assert cpu_quota(root, membership) is None
    assert cpu_quota(tmp_path / "absent", tmp_path / "nobody") is None


def test_memory_limit_of_version_2(tmp_path: Path) -> None:
    """A group's limit holds; without one the machine's memory does."""
    membership, root = tmp_path / "membership", tmp_path / "cgroup"
    write(membership, "0::/\n")
    write(root / "memory.max", "max\n")
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert memory_limit(root, membership) == machine
    write(root / "memory.max", str(GB // 2))
    assert memory_limit(root, membership) == GB // 2


def test_threads_never_exceed_affinity_or_quota(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight processors, 2.5 of them allowed: three threads, or fewer if asked for, but one at least."""
    monkeypatch.setattr(processor, "_affinity", lambda: 8)
    monkeypatch.setattr(processor, "cpu_quota", lambda: 2.5)
    assert [available_threads(wanted) for wanted in (None, 16, 2, 0)] == [3, 3, 2, 1]
    monkeypatch.setattr(processor, "cpu_quota", lambda: None)
    assert available_threads() == 8


@pytest.mark.parametrize(("quota", "threads"), [(0.2, 1), (1.0, 1), (1.01, 2), (64.0, 8)])
def test_a_share_of_a_processor_is_one_thread(
    monkeypatch: pytest.MonkeyPatch, quota: float, threads: int
) -> None:
    """Of eight processors: never none, and never more than there are."""
    monkeypatch.setattr(processor, "_affinity", lambda: 8)
    monkeypatch.setattr(processor, "cpu_quota", lambda: quota)
    assert available_threads() == threads


def test_a_case_on_one_processor_has_one_thread_that_works(tmp_path: Path) -> None:
    """Whatever numpy's library and ours would start: there is the case's thread, and the one that waits."""
    (tmp_path / "in").mkdir()
    write_case(tmp_path / "in" / "a.npz")
    one = min(os.sched_getaffinity(0))
    bound = {"cwd": tmp_path, "preexec_fn": lambda: os.sched_setaffinity(0, {one})}
    with hanging_command("window 2", "in", "out", **bound) as process:
        threads = len(os.listdir(f"/proc/{process.pid}/task"))
    assert threads == 2


@pytest.mark.parametrize(("arguments", "threads"), [((), "2"), (("--threads", "1"), "1")])
def test_libraries_are_limited_before_they_are_loaded(
    tmp_path: Path, arguments: tuple[str, ...], threads: str
) -> None:
    """Two processors in `available_threads`; the libraries read their limits when numpy is imported."""
    (tmp_path / "in").mkdir()
    code = (
        "import os, sys; from vesal.inference.runtime import machine; machine._affinity = lambda: 2\n"
        "machine.cpu_quota = lambda: None\n"
        "from vesal.inference.runner.command import main; assert 'numpy' not in sys.modules\n"
        f"main(['in', 'out', *{arguments!r}]); assert 'numpy' in sys.modules\n"
        "print(*(os.environ[n + '_NUM_THREADS'] for n in ('OMP', 'MKL', 'RAYON', 'OPENBLAS')))"
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [threads, threads, threads, "1"]


FOR_PROCESSES = {"multiprocessing", "subprocess"}
SHARED = ("/dev/shm", "shared_memory", "os.fork", "posix_spawn", "ProcessPool", "futures.process")


@pytest.mark.parametrize("package", ["inference", "postprocess"])
def test_nothing_starts_processes_or_shares_memory(package: str) -> None:
    """/dev/shm has 64 MB in the container, and a second process would double what every library holds."""
    for path in (ROOT / package).rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        nodes = list(ast.walk(ast.parse(text)))
        imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        assert not {name.partition(".")[0] for name in imported} & FOR_PROCESSES, path
        assert not [word for word in SHARED if word in text], path


def test_threads_follow_the_affinity_of_this_process() -> None:
    """Bound to a single processor there is one thread."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert available_threads() == 1
    finally:
        os.sched_setaffinity(0, before)


def test_bf16_needs_the_instruction() -> None:
    """AVX512 alone emulates bfloat16; the two extensions multiply it."""
    assert not has_bf16(frozenset({"avx2", "avx512f", "avx512_vnni"}))
    assert has_bf16(frozenset({"avx512_bf16"}))
    assert has_bf16(frozenset({"amx_bf16"}))


def test_peak_memory_is_the_kernels_mark_of_this_program(tmp_path: Path) -> None:
    """A child of a large process begins with its parent's ru_maxrss; VmHWM begins anew."""
    status = tmp_path / "status"
    status.write_text("Name:\tpython\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\n")
    assert peak_mb(status) == 20.0
    assert 5 < peak_mb() < 64 * 1024
    assert peak_mb(tmp_path / "none") >= 5  # where there is no such file, what the system counts
