"""The command with a network that hears no signal: `python -m tests.inference.runner.hanging WHERE LATE ...`.

It says `here` on standard output when it has come to WHERE, and then hangs there, once, for half a minute.
With `late` for LATE the time of case `a` is over at that moment, so that nobody has to wait for it.
"""

import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.inference.fake_models import Bright, make_engine
from vesal.inference.api import Model
from vesal.inference.io import label_writer as write
from vesal.inference.io.npz import NpzReader
from vesal.inference.output import case_output as output
from vesal.inference.runner import command as program
from vesal.inference.runner import run
from vesal.inference.runner.case_record import CaseRecord

HANG_S = 30.0

Replace = Callable[[Any, str, Any], None]


class Hang:
    """Hangs at one place, the `at`-th time it is come to."""

    def __init__(self, place: str) -> None:
        self.place, self.hangs, self.released = place, False, threading.Event()
        self.count: dict[str, int] = {}

    def reached(self, place: str) -> None:
        """Come to a place; how often it was come to is part of its name: `window 2`."""
        self.count[place] = self.count.get(place, 0) + 1
        if self.place == f"{place} {self.count[place]}":
            print("here", flush=True)
            self.hangs = True
            # In short waits: within one long wait no thread gets to a signal that came to another one.
            end = time.monotonic() + HANG_S
            while time.monotonic() < end and not self.released.wait(0.01):
                pass

    def listened_to(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, beside a thread that hears signals, as libraries keep them."""
        listening = threading.Event()

        def listen() -> None:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            listening.set()
            self.released.wait()

        def listened(*arguments: Any) -> Any:
            threading.Thread(target=listen, daemon=True).start()
            listening.wait()
            return function(*arguments)

        return listened

    def before(self, place: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, which comes to a place first."""

        def hanging(*arguments: Any) -> Any:
            self.reached(place)
            return function(*arguments)

        return hanging

    def model(self, settings: object) -> Model:
        """A model whose network may hang."""
        self.reached("open")
        bright = Bright()

        def graph(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            self.reached("window")
            return bright(inputs)

        engine = make_engine(graph)
        for name, value in (("reason", "it needs none"), ("precision", "fp32"), ("threads", 1)):
            setattr(engine.runtime, name, value)
        return Model(engine, threads=1)

    def put_in(self, replace: Replace = setattr) -> None:
        """Put the places into the modules of the engine."""
        replace(run, "_open_model", self.model)
        replace(NpzReader, "read", self.before("read", NpzReader.read))
        replace(output, "write_label_map", self.before("write", output.write_label_map))
        replace(write, "_synchronise", self.before("half written", write._synchronise))
        replace(run, "write_report", self.listened_to(self.before("report", run.write_report)))

    def end_the_time(self, replace: Replace = setattr) -> None:
        """Let the time of case `a` be over when it hangs, and never before; the others have all they need."""

        def deadline(record: CaseRecord) -> float:
            return 0.0 if self.hangs and record.job.name == "a" else time.monotonic() + 600.0

        replace(CaseRecord, "deadline", deadline)
        replace(CaseRecord, "left_s", lambda record: 0.1)


if __name__ == "__main__":
    hang = Hang(sys.argv[1])
    hang.put_in()
    if sys.argv[2] == "late":
        hang.end_the_time()
    program._leave(program.main(sys.argv[3:]))
