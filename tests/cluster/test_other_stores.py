"""Google's and Azure's stores, by servers here: gcp-storage-emulator of PyPI, azurite-blob of npm."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.made import BoxOpener, needs, result, run_batch, write_scan
from vesal.cluster.store import all_records

needs("fsspec")

AZURE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of the account of every Azurite, as its documentation has it."""
START_S = 60.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def serving(command: Sequence[str], port: int) -> Iterator[None]:
    """A server in a process of its own, until the end of the `with`."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + START_S
            while time.monotonic() < until and process.poll() is None:
                with socket.socket() as asked:
                    if asked.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield
        finally:
            process.kill()


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Google's."""
    for package in ("gcsfs", "gcp_storage_emulator"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    port = free_port()
    program = "from gcp_storage_emulator.server import create_server; "
    program += f"create_server('127.0.0.1', {port}, in_memory=True).run()"
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    with serving([sys.executable, "-c", program], port):
        yield "gs"


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Azure's."""
    pytest.importorskip("adlfs", reason="adlfs is not installed: it is of the extra `cluster`")
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("azurite-blob is not installed (npm install azurite)")
    port = free_port()
    monkeypatch.setenv(
        "AZURE_STORAGE_CONNECTION_STRING",
        f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={AZURE_KEY};"
        f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;",
    )
    options = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"]
    with serving([program, *options, "--silent", "--skipApiVersionCheck"], port):
        yield "az"


@pytest.mark.parametrize("store", ["google", "azure"])
def test_there_and_back(store: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    scheme = request.getfixturevalue(store)
    fsspec: Any = pytest.importorskip("fsspec")
    fsspec.filesystem(scheme, skip_instance_cache=True).mkdir("scans")
    system = fsspec.filesystem(scheme)
    scan = write_scan(tmp_path / "in" / "site ä" / "CT 1.nii.gz")
    system.put_file(str(scan), "scans/in/site ä/CT 1.nii.gz")

    def asked(*prompts: str, inputs: str = "in") -> int:
        opener = BoxOpener()
        arguments = ("-i", f"{scheme}://scans/{inputs}", "-o", f"{scheme}://scans/out", "-p", *prompts)
        assert run_batch(*arguments, opener=opener) == 0
        return len(opener.model.asked)

    assert asked("liver") == 1
    assert asked("liver", inputs="in/**/*.nii.gz") == 0
    assert asked("liver", "spleen") == 1, "what is there is replaced"
    assert asked("liver", "spleen") == 0
    assert run_batch("-i", tmp_path / "in", "-o", tmp_path / "out", "-p", "liver", "spleen") == 0
    for suffix, content in result(tmp_path / "out", "site ä/CT 1").items():
        assert system.cat_file(f"scans/out/site ä/CT 1_seg{suffix}") == content
    (record,) = all_records(f"{scheme}://scans/out")
    assert (record.name, record.state, len(record.targets)) == ("site ä/CT 1", "ok", 2)
    assert system.exists("scans/out/batch/table.csv")
