"""A cluster of Ray on 127.0.0.1 for the tests of this folder that ask for one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from vesal.cluster.ray_start import OBJECT_STORE_BYTES, ONLY_HERE

LOOPBACK = "127.0.0.1"


class Nodes:
    """Nodes of two processors each, of which any but the first can be lost."""

    def __init__(self, folder: Path) -> None:
        """Start the first one."""
        from ray.cluster_utils import Cluster

        self._cluster = Cluster()
        self._cluster.add_node(
            temp_dir=str(folder), include_dashboard=False, dashboard_host=LOOPBACK, **self._like()
        )
        self.more: list[Any] = []

    @property
    def address(self) -> str:
        """For `--ray`."""
        return str(self._cluster.address)

    def add(self, **other: Any) -> None:
        """One more node."""
        self.more.append(self._cluster.add_node(**self._like() | other))

    def lose(self) -> None:
        """The node that was added last is gone at once, with all that runs on it."""
        self._cluster.remove_node(self.more.pop(), allow_graceful=False)

    def end(self) -> None:
        """All of them."""
        import ray

        ray.shutdown()
        self._cluster.shutdown()

    @staticmethod
    def _like() -> dict[str, Any]:
        return {"node_ip_address": LOOPBACK, "num_cpus": 2, "object_store_memory": OBJECT_STORE_BYTES}


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    """Two nodes; tests that lose one add one before."""
    # Before Ray is imported, which reads them then.
    off = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    folder = Path(tempfile.mkdtemp(prefix="vesal-ray-", dir="/tmp"))  # sockets need a short path
    with mock.patch.dict(os.environ, ONLY_HERE | off):
        pytest.importorskip("ray", reason="ray is not installed: it is of the extra `cluster`")
        Path("/tmp/ray").mkdir(exist_ok=True)  # where Ray notes the address, whatever its folder
        made = Nodes(folder)
        try:
            made.add()
            yield made
        finally:
            made.end()
            shutil.rmtree(folder, ignore_errors=True)
