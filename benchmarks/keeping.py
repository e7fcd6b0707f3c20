"""What packing probabilities costs and saves: our zlib beside blosc2: `python -m benchmarks.keeping`.

The spatial prompts of a case with many classes wait between the stages. Measured on a made class (a ball in
noise of 1e-3) for 32 bits a voxel: bytes left, seconds to pack and to unpack, and the import alone.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.measure import as_in_a_container, now, side_by_side
from benchmarks.tables import Row, finish, markdown
from vesal.inference.runtime.machine import available_threads

SIDE = 160
NOISE = 1e-3


def main(arguments: list[str] | None = None) -> int:
    """Make the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.keeping", description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args(arguments)
    as_in_a_container(available_threads())
    title = "Packing probabilities"
    rows = make_rows(options.times)
    print(markdown(title, rows))
    return finish({title: rows}, options.json)


def make_rows(times: int) -> list[Row]:
    """Size, time and import."""
    import blosc2

    from vesal.inference.stages.packed_probability import PackedProbability

    values = made()
    packed = PackedProbability.of(values[None])
    theirs = blosc2.compress2(values)

    def unpack_theirs() -> np.ndarray:
        return np.frombuffer(blosc2.decompress2(theirs), np.float32)

    calls = [
        lambda: PackedProbability.of(values[None]),
        lambda: blosc2.compress2(values),
        lambda: packed[0],
        unpack_theirs,
    ]
    ms = side_by_side(calls, times)
    size = f"{SIDE}^3 voxels"
    return [
        Row(f"bytes of a class, {size}", packed.nbytes / 1e3, "kB", len(theirs) / 1e3, "blosc2"),
        Row(f"packing a class, {size}", ms[0], against=ms[1], than="blosc2"),
        Row(f"unpacking a class, {size}", ms[2], against=ms[3], than="blosc2"),
        Row(
            "import beside numpy", import_ms("zlib", times), against=import_ms("blosc2", times), than="blosc2"
        ),
    ]


def made() -> np.ndarray:
    """(SIDE, SIDE, SIDE) float32: a soft ball in noise."""
    axes = np.ogrid[tuple(slice(-1, 1, SIDE * 1j) for _ in range(3))]
    away = np.sqrt(sum(axis**2 for axis in axes))
    noise = np.random.default_rng(0).random((SIDE,) * 3, np.float32) * np.float32(NOISE)
    return np.maximum(noise, 1 / (1 + np.exp((away - 0.3) * 40))).astype(np.float32)


def import_ms(package: str, times: int) -> float:
    """Milliseconds that importing a package adds to a process that has numpy."""

    def run(code: str) -> float:
        best = float("inf")
        for _ in range(times):
            started = now()
            subprocess.run([sys.executable, "-c", code], check=True)
            best = min(best, now() - started)
        return 1e3 * best

    return max(0.0, run(f"import numpy, {package}") - run("import numpy"))


if __name__ == "__main__":
    sys.exit(main())
