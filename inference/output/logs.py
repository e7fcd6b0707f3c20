"""The one logger of the project: a line per stage with seconds and MB, and a bar on terminals only."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from vesal.inference.data.results import StageReport

log = logging.getLogger("vesal")

FINE_MM = 0.01
"""Voxels with a side below this are told in µm."""


class Bar(Protocol):
    """A progress bar."""

    def update(self, n: int = 1) -> Any:
        """Count `n` more as done."""


class _NoBar:
    """No progress bar."""

    def update(self, n: int = 1) -> None:
        """Do nothing."""


class _Formatter(logging.Formatter):
    """One line a message, whatever names and sentences hold; a traceback's lines are indented."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line."""
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """The traceback: what an error says may hold line breaks and look like other lines."""
        return "\n".join(f"    {one_line(line)}" for line in super().formatException(ei).splitlines())


def one_line(text: str) -> str:
    """The text with control characters, line breaks and halves of characters as Python's escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _Handler(logging.Handler):
    """Lines to standard error, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record; a closed or full standard error does not fail a case."""
        try:
            # Without a bar the module is not loaded, and need not be.
            tqdm = sys.modules.get("tqdm") if on_terminal() else None
            if tqdm is not None:
                tqdm.tqdm.write(self.format(record), file=sys.stderr)
            else:
                sys.stderr.write(self.format(record) + "\n")
                sys.stderr.flush()
        except (OSError, ValueError, AttributeError):  # closed, full, or None where the process began without
            return


def set_up(verbosity: int = 0) -> None:
    """Send the project's log to standard error; calling it again only changes the level."""
    level = logging.WARNING if verbosity < 0 else logging.DEBUG if verbosity > 0 else logging.INFO
    log.setLevel(level)
    if not any(isinstance(handler, _Handler) for handler in log.handlers):
        handler = _Handler()
        handler.setFormatter(_Formatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
        log.addHandler(handler)


def spacing_text(spacing_mm: Sequence[float]) -> str:
    """Voxel sides in mm, in µm where the shortest is below `FINE_MM`."""
    if min(spacing_mm) >= FINE_MM:
        return " x ".join(f"{mm:.2f}" for mm in spacing_mm) + " mm"
    return " x ".join(f"{1000 * mm:.3g}" for mm in spacing_mm) + " µm"


def log_stage(stage: StageReport) -> None:
    """One line for a finished stage: on which grid it ran, or why, its seconds and the peak memory in MB."""
    where = stage.why
    if stage.grid and stage.spacing_dhw_mm:
        where = f"{'x'.join(map(str, stage.grid))} at {spacing_text(stage.spacing_dhw_mm)}"
    log.info(
        "  %-7s %s, %d windows (%d skipped), %.2f s, %.0f MB",
        *(stage.name, where, stage.windows, stage.skipped, stage.seconds, stage.peak_mb),
    )


def on_terminal() -> bool:
    """Whether standard error is a terminal."""
    return bool(getattr(sys.stderr, "isatty", lambda: False)())


def has_bars() -> bool:
    """Whether bars are shown: on a terminal, unless only warnings are wanted."""
    return on_terminal() and log.isEnabledFor(logging.INFO)


@contextmanager
def bar(total: int, what: str, unit: str = "window") -> Iterator[Bar]:
    """A tqdm bar over `total` steps on a terminal, nothing elsewhere or where only warnings are wanted."""
    if not has_bars():
        yield _NoBar()
        return
    from tqdm import tqdm

    # The monitor thread of tqdm only matters for loops that stall for 10 s between updates; we need no
    # thread.
    tqdm.monitor_interval = 0
    with tqdm(total=total, desc=what, unit=unit, leave=False, file=sys.stderr) as progress_bar:
        yield progress_bar


class Windows(Protocol):
    """How far a stage is, as `timing.progress.WindowProgress`."""

    @property
    def stage(self) -> str:
        """Its name."""

    @property
    def windows(self) -> int:
        """That were run."""

    @property
    def planned(self) -> int:
        """In all, as far as is known."""


@contextmanager
def window_bar() -> Iterator[Callable[[Windows], bool]]:
    """A bar over the windows of the stage that runs, with the time left, on a terminal; nothing elsewhere.

    Gives a function to call after every window; it returns True, that the case may go on.
    """
    if not has_bars():
        yield lambda done: True
        return
    with ExitStack() as bars:
        shown: dict[str, Any] = {}
        last = time.time()

        def show(done: Windows) -> bool:
            nonlocal last
            if done.stage not in shown:
                bars.close()
                shown.clear()
                shown[done.stage] = bars.enter_context(bar(done.planned, f"{done.stage} stage"))
                # The first window is done by now: the stage began with it.
                shown[done.stage].start_t = last
            last = time.time()
            progress_bar = shown[done.stage]
            progress_bar.total = max(done.planned, done.windows)
            progress_bar.update(done.windows - progress_bar.n)
            return True

        yield show
