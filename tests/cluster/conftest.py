"""A cluster of Ray on 127.0.0.1 for the tests of this folder that ask for one."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

import pytest

from benchmarks.cluster_nodes import Nodes, nodes_here


@pytest.fixture(scope="session")
def nodes() -> Iterator[Nodes]:
    """Two nodes of two processors; tests that lose one add one before."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed: it is of the extra `cluster`")
    with nodes_here(2) as made:
        yield made
