"""`vesal view CASE [RESULT]`: opens a page on this machine, and ends when it is closed."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from vesal.inference.data.errors import UsageError, VesalError
from vesal.inference.data.terms import RUNTIMES
from vesal.inference.families.registry import check_profile
from vesal.inference.io.read_options import ReadOptions
from vesal.inference.output import logs
from vesal.inference.planning.profile import read_profile
from vesal.inference.planning.weights_folder import weights_folder
from vesal.inference.viewer.assets import read_assets
from vesal.inference.viewer.events import Events
from vesal.inference.viewer.reading import label_name, read_page
from vesal.inference.viewer.server import PageServer
from vesal.inference.viewer.session import Session, Wanted

if TYPE_CHECKING:
    from vesal.inference.api import Model

log = logging.getLogger("vesal")

WRONG_USAGE = 2


def view(arguments: Sequence[str]) -> int:
    """Serve the page until it is closed, or Ctrl-C; the exit code is 2 where there is no page to show."""
    logs.set_up()
    try:
        options = _parser().parse_args(list(arguments))
        server = open_page(options)
    except VesalError as error:
        log.error("%s", error)
        return WRONG_USAGE
    except OSError as error:
        log.error("port %s of 127.0.0.1 cannot be used: %s", options.port, error.strerror or error)
        return WRONG_USAGE
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    log.info("the page ends with Ctrl-C, or when its tab is closed")
    if not options.no_browser:
        webbrowser.open(server.url)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        server.closing.set()
    server.session.stop()
    server.server_close()
    return 0


def open_page(options: argparse.Namespace) -> PageServer:
    """The server for a command line, bound and not yet serving. Raises VesalError, OSError."""
    assets = read_assets()
    can = check_profile(read_profile(weights_folder(options.weights), check_digests=False))
    wanted = ReadOptions(options.series, options.level, options.volume)
    files = read_page(options.case, options.result, options.prompts, wanted)
    case = files.case
    events = Events(lambda: server.end())

    def open_model() -> Model:
        from vesal.inference.api import load

        return load(options.weights, threads=options.threads, runtime=options.runtime)

    session = Session(case, open_model, can, options.weights, events, files.file_codes)
    if files.labels is not None:
        texts = {} if case.instance else case.sentences  # else the values are objects, and no ids of prompts
        names = {id_: label_name(text) for id_, text in texts.items()}
        session.labels.add_map(files.labels, files.names or names, {} if files.names else texts)
    server = PageServer(session, assets, options.port)
    if options.prompts:
        session.start(Wanted(tuple(options.prompts)))
    return server


class _Parser(argparse.ArgumentParser):
    """argparse that raises UsageError instead of exiting."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError with argparse's message and a hint."""
        raise UsageError(f"{message}; `{self.prog} --help` lists the options.")


def _parser() -> _Parser:
    parser = _Parser(
        prog="vesal view",
        description="Show a case with its labels in the browser, and run further prompts on it. The page is "
        "served to this machine only.",
        allow_abbrev=False,
    )
    parser.add_argument("case", type=Path, metavar="CASE", help="file or folder of a case")
    parser.add_argument("result", type=Path, nargs="?", metavar="RESULT", help="its label map")
    parser.add_argument("-p", "--prompt", dest="prompts", nargs="+", default=[], help="what to run at once")
    parser.add_argument("--weights", default="nano", help="name or folder of the weights (default: nano)")
    parser.add_argument("--runtime", default="auto", choices=RUNTIMES, help="what runs the network")
    parser.add_argument("--threads", type=int, help="upper limit of CPU threads")
    parser.add_argument(
        "--series", metavar="UID", help="of a DICOM folder with several (default: the largest)"
    )
    parser.add_argument("--level", type=int, metavar="N", help="resolution of an OME-Zarr, 0 the finest")
    parser.add_argument("--volume", type=int, metavar="N", help="of a file with several, from 0 on")
    parser.add_argument("--port", type=int, default=0, help="of 127.0.0.1 (default: any that is free)")
    parser.add_argument("--no-browser", action="store_true", help="only print the URL")
    return parser
