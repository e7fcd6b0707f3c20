"""A cluster of Ray of several nodes on this machine, on 127.0.0.1 alone: for benchmarks and tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from vesal.cluster.ray_start import OBJECT_STORE_BYTES, ONLY_HERE

LOOPBACK = "127.0.0.1"


class Nodes:
    """Nodes of some processors each, of which any but the first can be lost."""

    def __init__(self, folder: Path, processors: int) -> None:
        """Start the first one, which has files and sockets below ``folder``."""
        from ray.cluster_utils import Cluster

        self._processors, self._more = processors, []  # type: ignore[var-annotated]
        self._cluster = Cluster()
        first = {"temp_dir": str(folder), "include_dashboard": False, "dashboard_host": LOOPBACK}
        self._cluster.add_node(**first, **self._each())

    @property
    def address(self) -> str:
        """For `--ray`."""
        return str(self._cluster.address)

    def add(self) -> None:
        """One more node."""
        self._more.append(self._cluster.add_node(**self._each()))

    def lose(self) -> None:
        """The node that was added last is gone at once, with all that runs on it."""
        self._cluster.remove_node(self._more.pop(), allow_graceful=False)

    def end(self) -> None:
        """All of them."""
        import ray

        ray.shutdown()
        self._cluster.shutdown()

    def _each(self) -> dict[str, Any]:
        own = {"node_ip_address": LOOPBACK, "object_store_memory": OBJECT_STORE_BYTES}
        return own | {"num_cpus": self._processors}


@contextmanager
def nodes_here(count: int, processors: int = 2) -> Iterator[Nodes]:
    """So many nodes for a `with`. Ray is to be imported inside: it reads what is set here when it is."""
    off = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}
    folder = Path(tempfile.mkdtemp(prefix="vesal-ray-", dir="/tmp"))  # sockets need a short path
    with mock.patch.dict(os.environ, ONLY_HERE | off):
        from ray._common.utils import get_default_ray_temp_dir

        Path(get_default_ray_temp_dir()).mkdir(exist_ok=True)  # Ray notes the address there in any case
        nodes = Nodes(folder, processors)
        try:
            for _ in range(count - 1):
                nodes.add()
            yield nodes
        finally:
            nodes.end()
            shutil.rmtree(folder, ignore_errors=True)
