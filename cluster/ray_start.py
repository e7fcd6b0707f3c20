"""Ray for a run: one on this machine that nothing outside can reach, or a cluster that is there already."""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import vesal
from vesal.cluster.schedule import threads_of_worker
from vesal.cluster.scratch import Scratch
from vesal.inference.data.errors import RuntimeChoiceError
from vesal.inference.runtime.machine import available_threads

log = logging.getLogger("vesal.batch")

OBJECT_STORE_BYTES = 80 << 20
"""Close to the least that Ray takes: scans and label maps go through files, never through Ray."""
CONNECT_S = 10.0
"""For a connection to a cluster."""
LAST_PORT = 65_535
LONGEST_FOLDER = 38
"""Characters: Ray has sockets some 65 further on, and the system takes paths of 107."""
ONLY_HERE = {
    # As Ray has it on systems where it starts no clusters: every server, also of workers, dashboard and
    # metrics, is bound to 127.0.0.1. Without it, it takes the machine's outer address whatever it is told.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
}


def prepare(address: str | None) -> None:
    """Set what Ray reads from the environment when it is imported, so before that."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address is None or is_loopback(address):
        os.environ.update(ONLY_HERE)
    if address is None:
        # A token of this run alone: other users of the machine can reach 127.0.0.1 too, and whoever may
        # speak to Ray may run code.
        os.environ.pop("RAY_AUTH_TOKEN_PATH", None)
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


@contextmanager
def connected(address: str | None, workers: int, threads: int | None, gpus: float) -> Iterator[int]:
    """Ray for a `with`, which gives the threads of a worker; what was started is ended behind it.

    Raises:
        RuntimeChoiceError: Ray does not start, or the cluster cannot be reached.
    """
    prepare(address)
    with ExitStack() as stack:
        processors = [available_threads(None)]
        here = threads or threads_of_worker(workers, processors)
        with _signals_kept():
            ray = _import()
            if address is None:
                folder = Scratch(_short_folder())
                stack.callback(folder.close)
                _start(ray, folder.path, max(processors[0], workers * here), gpus)
            else:
                _connect(ray, address)
        stack.callback(ray.shutdown)
        if address is None:
            _check_loopback(ray)
            log.info("Ray runs on this machine alone, with %d workers of %d threads", workers, here)
            yield here
        else:
            processors = [int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node["Alive"]]
            yield threads or threads_of_worker(workers, processors)


def environment(threads: int) -> dict[str, str]:
    """Variables of a worker's process. No secrets: Ray shows them."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
    variables = dict.fromkeys(names, str(threads)) | {"OPENBLAS_NUM_THREADS": "1"}
    # One heap in place of one for each thread: what a case leaves free in one of them all can use.
    variables["MALLOC_ARENA_MAX"] = "1"
    root = Path(vesal.__file__).resolve().parent.parent
    if (root / "pyproject.toml").is_file():  # a checkout, which is not installed
        before = os.environ.get("PYTHONPATH", "")
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), before]))
    return variables


def _import() -> Any:
    """Ray, which neither shows the command line, where signed URLs may be, nor prints between our lines."""
    import ray
    from ray._private import utils
    from ray._private import worker as internal

    utils.get_entrypoint_name = lambda: "vesal batch"
    # It prints what happened to workers whatever it is told; the log has that in one line.
    internal.print_to_stdstream = lambda *_, **__: None
    return ray


def _start(ray: Any, folder: Path, processors: int, gpus: float) -> None:
    try:
        ray.init(
            address="local",
            num_cpus=processors,
            num_gpus=None if gpus else 0,
            object_store_memory=OBJECT_STORE_BYTES,
            dashboard_host="127.0.0.1",
            _temp_dir=str(folder),
            **_quiet(),
        )
    except Exception as error:
        raise RuntimeChoiceError(f"Ray does not start: {type(error).__name__}: {error}") from error


def _connect(ray: Any, address: str) -> None:
    _check_answers(address)
    try:
        ray.init(address=address, **_quiet())
    except Exception as error:
        raise RuntimeChoiceError(
            f"the cluster of Ray at {address} cannot be reached ({type(error).__name__}: {error}); see that "
            "it runs, and that RAY_AUTH_TOKEN is that of the cluster where it has one."
        ) from error


def _check_answers(address: str) -> None:
    """Raise RuntimeChoiceError where nothing listens at HOST:PORT: Ray tries that for minutes."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        if int(port) > LAST_PORT:  # which the system would take modulo 65,536, where others may listen
            raise OSError(f"ports end at {LAST_PORT}")
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except OSError as error:
        raise RuntimeChoiceError(
            f"nothing answers at {address} ({error}); give the address of a cluster of Ray that runs, as "
            "`ray start --head` told it."
        ) from None


def _quiet() -> dict[str, Any]:
    return {"log_to_driver": False, "logging_level": logging.ERROR, "namespace": "vesal"}


def _check_loopback(ray: Any) -> None:
    """Raise RuntimeChoiceError where Ray listens to others, as if it was imported before `prepare`."""
    found = [node["NodeManagerAddress"] for node in ray.nodes()]
    if not all(is_loopback(each) for each in found):
        ray.shutdown()
        raise RuntimeChoiceError(f"Ray would listen on {', '.join(found)}; it has to be 127.0.0.1 alone.")


def is_loopback(address: str) -> bool:
    """Whether an address, with or without scheme and port, is surely of this machine alone."""
    host = address.rpartition("://")[2].rpartition(":")[0] or address
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _short_folder() -> Path:
    folder = Path(tempfile.gettempdir())
    return folder if len(str(folder)) + len("/vesal-batch-") + 16 <= LONGEST_FOLDER else Path("/tmp")


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Put the handler of SIGTERM back: Ray sets one of its own, which leaves without ending the run."""
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
