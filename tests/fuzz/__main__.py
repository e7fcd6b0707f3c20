"""Try one target with made inputs: `python -m tests.fuzz reader --seconds 30 --seed 0`.

Input number n of a seed is always the same; `--only n` runs it alone. Prints what failed as JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np

from tests.fuzz.inputs import making
from tests.fuzz.targets import BUDGET_S, NAMED, TARGETS
from vesal.inference.runtime.machine import peak_mb

MAX_SECONDS = 5.0
"""Of the processors, for one input once it is made; the engine has `targets.BUDGET_S`."""
MAX_MB = 2048
MAX_TOLD = 20


def tried(target: str, seed: int, number: int) -> str | None:
    """Run one input; what is wrong, or None."""
    started, made = time.process_time(), making["seconds"]
    with tempfile.TemporaryDirectory() as folder:
        try:
            TARGETS[target](np.random.default_rng([seed, number]), Path(folder))
        except NAMED:
            pass
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return "".join(traceback.format_exception(error)[-3:])
    taken = time.process_time() - started - (making["seconds"] - made)
    limit = BUDGET_S if target == "engine" else MAX_SECONDS
    return f"{taken:.1f} s of {limit}" if taken > limit else None


def main() -> int:
    """Try inputs until the time is up; 1 where some failed."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    failures: dict[int, str] = {}
    ends, first = time.monotonic() + options.seconds, options.only or 0
    number = first
    while True:
        print(number, file=sys.stderr, flush=True)  # the last one is the one that ended the process
        if wrong := tried(options.target, options.seed, number):
            failures[number] = wrong
        number += 1
        if options.only is not None or time.monotonic() > ends or len(failures) >= MAX_TOLD:
            break
    peak = peak_mb()
    print(json.dumps({"tried": number - first, "failures": failures, "peak_mb": peak}))
    return 1 if failures or peak > MAX_MB else 0


if __name__ == "__main__":
    sys.exit(main())
