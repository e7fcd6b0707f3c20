"""The command with a network that hears no signal: `python -m tests.inference.runner.hanging WHERE LATE ...`.

It says `here` on standard output when it has come to WHERE, and hangs there, once, until its standard input
is closed. Its clock stands still; with `late` for LATE it jumps when the command hangs, so that the time of
the case under way is over.
"""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.inference.fake_models import Bright, make_engine
from tests.inference.fakes import SAFETY_S
from vesal.inference.api import Model
from vesal.inference.io import temporary as write
from vesal.inference.io.npz import NpzReader
from vesal.inference.output import case_output as output
from vesal.inference.runner import command as program
from vesal.inference.runner import run

ROOT = Path(__file__).resolve().parents[3]
LATER_S = 1e6

Replace = Callable[[Any, str, Any], None]


@contextmanager
def hanging_command(
    place: str, *arguments: object, late: bool = False, **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own that hangs by now; killed at the end, if it still runs."""
    command = [sys.executable, "-m", "tests.inference.runner.hanging", place, "late" if late else ""]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, *map(str, arguments)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    ) as process:
        give_up = threading.Timer(SAFETY_S, process.kill)
        give_up.start()
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "here\n", process.communicate()[1]
            yield process
        finally:
            give_up.cancel()
            process.kill()


class Hang:
    """Hangs at one place until it is released; its clock stands still, or jumps when it hangs."""

    def __init__(
        self, place: str, late: bool = False, is_over: Callable[[float], bool] | None = None
    ) -> None:
        """``is_over`` waits so many seconds for the hang's end; by default for ``released``."""
        self.place, self.late, self.released = place, late, threading.Event()
        self.is_over = is_over or self.released.wait
        self.now_s = 0.0
        self.count: dict[str, int] = {}

    def now(self) -> float:
        """What the clock shows."""
        return self.now_s

    def reached(self, place: str) -> None:
        """Come to a place; how often it was come to is part of its name: `window 2`."""
        self.count[place] = self.count.get(place, 0) + 1
        if self.place == f"{place} {self.count[place]}":
            print("here", flush=True)
            self.now_s += LATER_S if self.late else 0.0
            # In short waits: within one long wait no thread gets to a signal that came to another one.
            while not self.is_over(0.01):
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
        facts = {"reason": "it needs none", "precision": "fp32", "threads": 1, "cancel": lambda: None}
        for name, value in facts.items():
            setattr(engine.runtime, name, value)
        return Model(engine, threads=1)

    def put_in(self, replace: Replace = setattr) -> None:
        """Put the places into the modules of the engine."""
        replace(run, "_open_model", self.model)
        replace(NpzReader, "read", self.before("read", NpzReader.read))
        replace(output, "write_label_map", self.before("write", output.write_label_map))
        replace(write, "_synchronise", self.before("half written", write._synchronise))
        replace(run, "write_report", self.listened_to(self.before("report", run.write_report)))

    def put_into_the_command(self) -> None:
        """Put the clock into it too, and let it wait for no file whose writer hangs."""
        self.put_in()
        program.process_start_monotonic = self.now
        run.run = partial(run.run, now=self.now)
        run.WRITE_GRACE_S = 0.0


def is_input_closed(seconds: float) -> bool:
    """Wait so long for the end of standard input; without a thread of its own, as these are counted."""
    return bool(select.select([sys.stdin], [], [], seconds)[0])


if __name__ == "__main__":
    Hang(sys.argv[1], sys.argv[2] == "late", is_input_closed).put_into_the_command()
    program.leave(program.main(sys.argv[3:]))
