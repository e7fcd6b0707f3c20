"""Made and damaged inputs for two minutes: an unnamed error, a missing or invalid output, more than 2 GB, or
lateness is a failure. `make fuzz MINUTES=60` goes on for longer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import TARGETS

MINUTES = float(os.environ.get("FUZZ_MINUTES", "2"))
SEED = os.environ.get("FUZZ_SEED", "0")
MAX_MB = 2048


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_no_input_leads_to_anything_but_a_result_or_a_named_error(target: str, root: Path) -> None:
    """In a process of its own, whose memory is counted, and whose end would be noticed."""
    if target == "converter":
        pytest.importorskip("torch", reason="published files are converted with torch")
    seconds = 60 * MINUTES / len(TARGETS)
    command = [sys.executable, "-m", "tests.fuzz", target, "--seconds", str(seconds), "--seed", SEED]
    ended = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=seconds + 120)
    last = (ended.stderr.split() or ["none"])[-1]
    assert ended.stdout, f"exit {ended.returncode} at or after input {last}: {ended.stderr[-2000:]}"
    told = json.loads(ended.stdout.splitlines()[-1])
    assert not told["failures"], "\n\n".join(f"input {n}: {why}" for n, why in told["failures"].items())
    assert told["tried"] > 1 and told["peak_mb"] < MAX_MB
