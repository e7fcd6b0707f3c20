"""What separating objects along edges costs beside plain connected components: `python -m benchmarks.edges`.

Three made masks: a block of cells that touch (edges three voxels thick), one large organ with an edge all
around, and a mask that is edge all through but for one voxel in its corner, the longest way to grow back.
Processor time, the best of some goes in turns, and the arrays that it makes.
"""

from __future__ import annotations

import argparse
import sys
import tracemalloc
from collections.abc import Callable

import numpy as np

from benchmarks.measure import count_processor_time, side_by_side
from vesal.inference.runtime.machine import processor
from vesal.postprocess.edges import Edges, cut_along_edges
from vesal.postprocess.instances import split_instances
from vesal.training.measure.results import markdown_table

SPACING_DHW_MM = (2.5, 0.8, 0.8)
CELL, WALL = 32, 3
"""Voxels from a cell to the next, and of the edge between."""
RELEASED = Edges(reach_voxels=2, keep_covered=False)

Shape = tuple[int, int, int]


def cells(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """Mask (D,H,W) bool and its edges uint8: cells that fill most of the volume."""
    mask, walls = np.zeros(shape, bool), np.zeros(shape, bool)
    mask[:, : shape[1] * 4 // 5, : shape[2] * 4 // 5] = True
    for places in np.ogrid[tuple(slice(n) for n in shape)]:
        walls |= places % CELL < WALL
    return mask, (walls & mask).astype(np.uint8)


def organ(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """The same: an ellipsoid, the edge its outermost thirtieth."""
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    distance = np.sqrt(sum((2.2 * (x + 0.5) / n - 1.1) ** 2 for x, n in zip(grid, shape, strict=True)))
    mask = distance < 0.66
    return mask, (mask & (distance > 0.64)).astype(np.uint8)


def covered(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """The same: everything is mask, and edge but for the first voxel."""
    edges = np.ones(shape, np.uint8)
    edges[0, 0, 0] = 0
    return np.ones(shape, bool), edges


MASKS: dict[str, Callable[[Shape], tuple[np.ndarray, np.ndarray]]] = {
    "cells that touch": cells,
    "one organ": organ,
    "edge all through": covered,
}


def main(arguments: list[str] | None = None) -> int:
    """Measure each mask and print the table."""
    parser = argparse.ArgumentParser("python -m benchmarks.edges", description=__doc__.split("\n")[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(300, 512, 512), metavar=("D", "H", "W"))
    parser.add_argument("--times", type=int, default=3, help="goes, of which the best counts (%(default)s)")
    options = parser.parse_args(arguments)
    count_processor_time()
    header = ("mask", "objects", "components s", "edges", "as released", "components MB", "edges MB")
    rows = [row(name, tuple(options.shape), options.times) for name in MASKS]
    print(f"{processor()}, {'x'.join(map(str, options.shape))}\n\n{markdown_table(header, rows)}")
    return 0


def row(name: str, shape: Shape, times: int) -> tuple[str, ...]:
    """One mask: seconds of connected components, and how many times as long the others take."""
    mask, edges = MASKS[name](shape)

    counts = []

    def cut(rule: Edges) -> None:
        planes = lambda part: edges[part].astype(np.float32)  # noqa: E731
        counts.append(len(cut_along_edges(mask, planes, SPACING_DHW_MM, rule).sizes))

    calls = (lambda: split_instances(mask), lambda: cut(Edges()), lambda: cut(RELEASED))
    plain, ours, released = side_by_side(calls, times)
    memory = [f"{peak_mb(call):.0f}" for call in calls[:2]]
    ratios = (f"{took / plain:.1f}x" for took in (ours, released))
    return name, str(counts[0]), f"{plain / 1e3:.2f}", *ratios, *memory


def peak_mb(call: Callable[[], object]) -> float:
    """What the arrays of a call take at its peak."""
    tracemalloc.start()
    call()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


if __name__ == "__main__":
    sys.exit(main())
