"""Nothing secret in the log: every line of the project's log goes through `places.redacted`."""

from __future__ import annotations

import logging
import traceback

from vesal.cluster.places import redacted
from vesal.inference.output.logs import one_line


class Hiding(logging.Filter):
    """Rewrites messages; lets all of them pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """The message as it may be shown."""
        record.msg, record.args = redacted(record.getMessage()), ()
        if record.exc_info:
            lines = redacted("".join(traceback.format_exception(*record.exc_info))).splitlines()
            record.exc_text = "\n".join(f"    {one_line(line)}" for line in lines)
            record.exc_info = None
        return True


def hide_secrets() -> None:
    """Set it up for this process; again it does nothing."""
    log = logging.getLogger("vesal")
    for where in (log, *log.handlers):
        if not any(isinstance(each, Hiding) for each in where.filters):
            where.addFilter(Hiding())
