"""How fast scoring is, side by side with a straightforward implementation: `python -m benchmarks.scoring`.

Both score the same made case, one after the other in one process, and must agree. The straightforward one is
what the official script does: whole-volume masks a class, corner codes by convolution, a distance transform
over the box of both masks, and for instances a Python loop over the voxels. Figures are ratios of one run;
absolute times depend on the machine. The whole case of 512x512x400 is scored by ours alone: the loop would
take minutes.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

from vesal.evaluation.matching import overlaps
from vesal.evaluation.metrics import score_case
from vesal.inference.geometry.views import sides_text

SPACING_DHW_MM = (1.0, 0.8, 0.8)
CLASSES = 15
SEED = 7
T = TypeVar("T")


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; return 1 when the two implementations disagree."""
    parser = argparse.ArgumentParser("python -m benchmarks.scoring", description=__doc__.split("\n")[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(400, 512, 512), help="D H W of the whole case")
    parser.add_argument(
        "--part", type=int, nargs=3, default=(200, 256, 256), help="D H W of the case for both"
    )
    options = parser.parse_args(arguments)
    ids = list(range(1, CLASSES + 1))
    prediction, truth = made_case(options.part)
    warm_up(ids)
    ours, score = timed(lambda: score_case(prediction, truth, ids, SPACING_DHW_MM, False))
    plain, (dsc, nsd) = timed(lambda: plain_semantic(prediction, truth, ids, SPACING_DHW_MM))
    agree = abs(score.dsc - dsc) < 1e-9 and abs(score.nsd - nsd) < 1e-9
    show(f"semantic, {CLASSES} classes", options.part, ours, plain)
    ours, table = timed(lambda: overlaps(truth, prediction))
    plain, counts = timed(lambda: plain_overlaps(truth, prediction))
    agree &= bool(np.array_equal(table.counts, counts))
    show("overlaps of instances", options.part, ours, plain)
    print("both agree" if agree else "THEY DISAGREE")
    prediction, truth = made_case(options.shape)
    ours, score = timed(lambda: score_case(prediction, truth, ids, SPACING_DHW_MM, False))
    print(
        f"whole case {sides_text(options.shape)}, {CLASSES} classes, ours alone: {ours:.1f} s, "
        f"NSD {score.nsd:.3f}"
    )
    return 0 if agree else 1


def made_case(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return prediction and truth, (D,H,W) uint8: ellipsoids like organs, the predicted ones a little off."""
    rng = np.random.default_rng(SEED)
    maps = np.zeros((2, *shape), np.uint8)
    size = np.asarray(shape)
    for class_id in range(1, CLASSES + 1):
        centre, radius = rng.uniform(0.2, 0.8, 3) * size, rng.uniform(0.05, 0.16, 3) * size
        for labels, error in zip(maps, (1.04, 1.0), strict=True):
            _draw(labels, centre + 2 * (error > 1), radius * error, class_id)
    return maps[0], maps[1]


def plain_semantic(
    prediction: np.ndarray, truth: np.ndarray, ids: list[int], spacing_mm: tuple[float, float, float]
) -> tuple[float, float]:
    """Return mean DSC and NSD of the classes of the truth, each computed over the whole volume."""
    scores = []
    for class_id in ids:
        a, b = truth == class_id, prediction == class_id
        if a.any():
            scores.append((2 * (a & b).sum() / (a.sum() + b.sum()), plain_surface_dice(a, b, spacing_mm)))
    dsc, nsd = np.mean(scores, axis=0)
    return float(dsc), float(nsd)


def plain_surface_dice(a: np.ndarray, b: np.ndarray, spacing_mm: tuple[float, float, float]) -> float:
    """Return the surface Dice at 2 mm by distance transforms over the box of both masks."""
    from scipy import ndimage
    from surface_distance.lookup_tables import (
        ENCODE_NEIGHBOURHOOD_3D_KERNEL,
        create_table_neighbour_code_to_surface_area,
    )

    area = create_table_neighbour_code_to_surface_area(spacing_mm)
    box = ndimage.find_objects((a | b).astype(np.uint8))[0]
    codes = [
        ndimage.correlate(np.pad(m[box], 1).astype(np.uint8), ENCODE_NEIGHBOURHOOD_3D_KERNEL, mode="constant")
        for m in (a, b)
    ]
    border = [(c != 0) & (c != 255) for c in codes]
    away = [ndimage.distance_transform_edt(~m, sampling=spacing_mm) for m in border]
    near = sum(area[codes[i]][border[i] & (away[1 - i] <= 2.0)].sum() for i in range(2))
    return float(near / sum(area[codes[i]][border[i]].sum() for i in range(2)))


def plain_overlaps(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Return the voxels of every pair of labels, counted one by one."""
    counts = np.zeros((int(truth.max()) + 1, int(prediction.max()) + 1), np.int64)
    for row, column in zip(truth.ravel(), prediction.ravel(), strict=True):
        counts[row, column] += 1
    return counts


def warm_up(ids: list[int]) -> None:
    """Score a tiny case both ways: imports and tables are no part of the figures."""
    tiny = made_case((20, 20, 20))
    score_case(*tiny, ids, SPACING_DHW_MM, False)
    plain_semantic(*tiny, ids, SPACING_DHW_MM)


def timed(call: Callable[[], T]) -> tuple[float, T]:
    """Return seconds and result of a call."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def show(what: str, shape: tuple[int, int, int], ours: float, plain: float) -> None:
    """Print one line of the comparison."""
    print(
        f"{what}, {sides_text(shape)}: plain {plain:.2f} s, ours {ours:.2f} s, "
        f"{plain / ours:.1f} times faster"
    )


def _draw(labels: np.ndarray, centre: np.ndarray, radius: np.ndarray, class_id: int) -> None:
    """Write an ellipsoid into its own box of the map."""
    low = np.maximum(np.floor(centre - radius).astype(int), 0)
    high = np.minimum(np.ceil(centre + radius).astype(int) + 1, labels.shape)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    axes = np.ogrid[box]
    away = sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radius, strict=True))
    labels[box][away <= 1] = class_id


if __name__ == "__main__":
    sys.exit(main())
