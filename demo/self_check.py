"""Send one small made case through `sh predict.sh` in the current folder and check what comes out.

The image's build runs this, with nothing but what the image holds: the real runtime, the real weights and
the real command, on a volume that takes a second. It is no test of quality: a bright ball in noise has the
look of no organ.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SHAPE = (24, 40, 48)
PROMPTS = {"1": "Left atrium delineation in cardiac MR", "instance_label": 0}


def write_case(path: Path) -> None:
    """Write a case in challenge format: a bright ball in noise, spacing (x,y,z) in mm, one prompt."""
    axes = np.ogrid[tuple(slice(-n / 2, n / 2) for n in SHAPE)]
    ball = sum(axis**2 for axis in axes) < 100
    image = np.random.default_rng(0).integers(20, 60, SHAPE, dtype=np.uint8) + ball * np.uint8(140)
    np.savez_compressed(path, imgs=image, spacing=np.array([1.5, 1.5, 2.0]), text_prompts=np.array(PROMPTS))


def check_output(path: Path) -> None:
    """Raise AssertionError unless `path` holds a label map of the case's shape with no id but 0 and 1."""
    with np.load(path, allow_pickle=False) as archive:
        labels = archive["segs"]
    assert labels.shape == SHAPE, f"segs has shape {labels.shape}, the case has {SHAPE}"
    assert labels.dtype == np.uint8, f"segs is {labels.dtype}, one prompt fits in uint8"
    ids = np.unique(labels).tolist()
    assert set(ids) <= {0, 1}, f"segs holds the ids {ids}, only 0 and 1 were asked for"


def check_report(path: Path) -> str:
    """Raise AssertionError unless the network really ran for the prompt; return one line about the run."""
    run = json.loads(path.read_text())
    case = run["cases"][0]
    assert case["state"] == "ok", f"the case is {case['state']!r}: {case['error']}, {case['fallbacks']}"
    assert case["prompts"][0]["covered"], f"the weights {run['weights']} do not know {PROMPTS['1']!r}"
    windows = sum(stage["windows"] for stage in case["stages"])
    assert windows > 0, "no window reached the network"
    return f"{run['runtime']['name']}, {windows} windows, {run['seconds']:.2f} s, {run['peak_mb']:.0f} MB"


def main() -> int:
    """Run the check; the exit code is that of `predict.sh`, or 1 where what it made is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        inputs, outputs, report = (Path(folder, name) for name in ("inputs", "outputs", "report.json"))
        inputs.mkdir()
        write_case(inputs / "self_check.npz")
        command = ["sh", "predict.sh", str(inputs), str(outputs), "--report", str(report)]
        code = subprocess.run(command, check=False).returncode
        if code != 0:
            print(f"self-check: {' '.join(command)} ended with {code}, wanted 0", file=sys.stderr)
            return code
        check_output(outputs / "self_check.npz")
        print(f"self-check: passed ({check_report(report)})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
