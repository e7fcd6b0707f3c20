"""The command line: help, wrong usage, exit codes, and how it starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.made import PROMPTS, run_batch, write_scan

ROOT = Path(__file__).resolve().parents[2]


def vesal(*arguments: object, code: str = "") -> subprocess.CompletedProcess[str]:
    """The real command."""
    start = ["-c", code] if code else ["-m", "vesal"]
    return subprocess.run(
        [sys.executable, *start, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_help_tells_all_ways() -> None:
    done = vesal("batch", "--help")
    assert done.returncode == 0
    for word in ("--workers", "--ray", "--shard", "--merge", "s3://", "docs/cluster.md"):
        assert word in done.stdout
    assert "vesal batch" in vesal("--help").stdout


def test_a_case_of_the_command_loads_nothing_of_it() -> None:
    code = "import vesal.__main__, vesal.inference.runner.run, sys; "
    code += "print([m for m in sys.modules if 'cluster' in m])"
    assert vesal(code=code).stdout.strip() == "[]"


def test_it_loads_numpy_only_with_its_limits_of_threads() -> None:
    code = "import vesal.cluster.command, sys; "
    code += "print([m for m in ('numpy', 'ray', 'fsspec', 'pyarrow') if m in sys.modules])"
    assert vesal(code=code).stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "nothing says which scans"),
        (["-i", "in", "--shard", "0/4"], "--shard is '0/4'"),
        (["-i", "in", "--shard", "5/4"], "--shard is '5/4'"),
        (["-i", "in", "--shard", "1"], "--shard is '1'"),
        (["-i", "in", "--shard", "1/2", "--workers", "2"], "leave --workers and --ray out"),
        (["-i", "in", "--merge", "--shard", "1/2"], "--merge runs nothing"),
        (["-i", "in", "--workers", "-1"], "--workers is -1"),
        (["-i", "in", "--workers", "0", "--ray", "auto"], "leave one out"),
        (["-i", "in", "--ray", " "], "--ray is ' '"),
        (["-i", "in", "--ray", "local"], "--workers alone starts one"),
        (["-i", "in", "--workers", "1", "--gpus", "nan"], "--gpus is nan"),
        (["-i", "in", "--gpus", "1"], "are of workers by Ray"),
        (["-i", "in", "--shard", "1/2", "--hang-after", "600"], "are of workers by Ray"),
        (["-i", "in", "--scratch", "in/a.nii.gz"], "--scratch is in/a.nii.gz, which is no folder"),
        (["-i", "in", "-p", " "], "blank"),
        (["-i", "in", "--modality", "XRAY"], "modality"),
        (["-i", "in", "--threads", "0"], "threads is 0"),
        (["-i", "in", "--runtime", "abacus"], "runtime is 'abacus'"),
        (["-i", "in", "--nonsense"], "--help"),
        (["-i", "absent"], "absent does not exist"),
        (["-i", "s3://key:pass-word@bucket/x"], "holds a user or a password"),
        (["-i", "s3:/key:pass-word@bucket/x"], "has one slash here"),
        (["--merge"], "no record"),
        (["-i", "in", "--nonsense", "https://u:pass-word@host/"], "--nonsense https://host/"),
    ],
)
def test_wrong_usage(
    tmp_path: Path,
    arguments: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_scan(tmp_path / "in" / "a.nii.gz")
    monkeypatch.chdir(tmp_path)
    assert run_batch(*arguments, "-o", "out") == 2
    error = capfd.readouterr().err
    assert told in error
    assert "pass-word" not in error


@pytest.mark.parametrize("out", ["https://host/out", "s3://key:pass-word@bucket/out", "s3:/bucket", "nul/\0"])
def test_outputs_that_cannot_be(tmp_path: Path, out: str, capfd: pytest.CaptureFixture[str]) -> None:
    write_scan(tmp_path / "in" / "a.nii.gz")
    assert run_batch("-i", tmp_path / "in", "-o", out, "-p", *PROMPTS) == 2
    assert "pass-word" not in capfd.readouterr().err


def test_a_folder_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_scan(tmp_path / "in" / "a.nii.gz")
    (tmp_path / "file").touch()
    assert run_batch("-i", tmp_path / "in", "-o", tmp_path / "file", "-p", *PROMPTS) == 2
    assert "nothing can be written" in capfd.readouterr().err


def test_without_ray_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write_scan(tmp_path / "in" / "a.nii.gz")
    monkeypatch.setitem(sys.modules, "ray", None)
    assert run_batch("-i", tmp_path / "in", "-o", tmp_path / "out", "-p", *PROMPTS, "--workers", 2) == 2
    assert 'pip install "vesal[cluster]"' in capfd.readouterr().err


@pytest.mark.parametrize(("place", "package"), [("s3://bucket/x", "s3fs"), ("x.parquet", "pyarrow")])
def test_without_a_package_it_says_which(
    tmp_path: Path,
    place: str,
    package: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "x.parquet").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, package, None)
    assert run_batch("-i", place, "-o", tmp_path / "out", "-p", *PROMPTS) == 2
    error = capfd.readouterr().err
    assert package in error
    assert 'pip install "vesal[cluster]"' in error


def test_what_a_killed_worker_left_unfinished_is_removed(tmp_path: Path) -> None:
    write_scan(tmp_path / "scans" / "a" / "one.nii.gz")
    out = tmp_path / "out"
    left = [folder / f".vesal-{'0' * 16}.tmp" for folder in (out / "a", out / "batch" / "cases" / "a")]
    for path in left:
        path.parent.mkdir(parents=True)
        path.write_bytes(b"half")
    other = out / "a" / ".notes"
    other.write_bytes(b"mine")
    assert run_batch("-i", tmp_path / "scans", "-o", out, "-p", *PROMPTS) == 0
    assert not any(path.exists() for path in left) and other.exists()
