"""Resampling beside torch.nn.functional.interpolate on the same cores: image, probabilities, labels."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.measure import side_by_side
from benchmarks.tables import Row
from vesal.inference.data.terms import COARSE
from vesal.inference.geometry.fit import fit_view
from vesal.inference.geometry.resample import labels_to_view, to_native, to_view
from vesal.inference.geometry.views import sides_text, triple, whole
from vesal.inference.planning.profile import read_profile
from vesal.inference.stages.label_map import LabelMap

CLASSES = 15


def rows(case: Path, weights: Path, threads: int, times: int) -> list[Row]:
    """What is sampled on the way of a case, each beside torch doing the same to the same array."""
    import torch
    from torch.nn.functional import interpolate

    torch.set_num_threads(threads)
    with np.load(case) as archive:
        image, spacing = archive["imgs"], triple(float(s) for s in archive["spacing"][::-1])
    view = fit_view(whole(image.shape), spacing, read_profile(weights).stage(COARSE).window_voxels)
    rng = np.random.default_rng(0)
    values = rng.random(view.shape, np.float32)
    labels = made_labels(image.shape)
    classes = [to_view((labels == n).astype(np.uint8), view) for n in range(1, CLASSES + 1)]

    def torch_image(mode: str) -> None:
        interpolate(torch.from_numpy(image)[None, None].float(), size=view.shape, mode=mode)

    def torch_back() -> None:
        interpolate(torch.from_numpy(values)[None, None], size=image.shape, mode="trilinear")

    def torch_nearest() -> None:
        interpolate(torch.from_numpy(labels)[None, None], size=view.shape, mode="nearest")

    def ours_labels() -> None:
        found = LabelMap(image.shape, CLASSES)
        found.add_classes([(n, partial(np.asarray, p)) for n, p in enumerate(classes, 1)], view, 0.5)

    def torch_labels() -> None:
        every = np.concatenate([np.full((1, *view.shape), 0.5, np.float32), np.stack(classes)])
        best, winner = torch.full(image.shape, 0.0), torch.zeros(image.shape, dtype=torch.uint8)
        for n, probability in enumerate(every):
            here = interpolate(torch.from_numpy(probability)[None, None], size=image.shape, mode="trilinear")
            wins = here[0, 0] > best
            best[wins], winner[wins] = here[0, 0][wins], n

    calls = [
        lambda: to_view(image, view),
        lambda: torch_image("trilinear"),
        lambda: torch_image("area"),
        lambda: to_native(values, view, (0, 0, 0), image.shape),
        torch_back,
        lambda: labels_to_view(labels, view),
        torch_nearest,
    ]
    ms = side_by_side(calls, times)
    ours, theirs = side_by_side([ours_labels, torch_labels], max(1, times // 3))
    size = sides_text(image.shape)
    small = sides_text(view.shape)
    return [
        Row(f"image {size} to {small}", ms[0], against=ms[1], than="torch, trilinear, uint8 in", limit=1.0),
        Row(f"image {size} to {small}", ms[0], against=ms[2], than="torch, area, uint8 in", limit=1.0),
        Row(f"probability {small} to {size}", ms[3], against=ms[4], than="torch, trilinear", limit=1.0),
        Row(f"labels {size} to {small}", ms[5], against=ms[6], than="torch, nearest", limit=1.0),
        Row(
            f"{CLASSES} classes to labels on {size}",
            ours,
            against=theirs,
            than="torch, trilinear a class, largest wins",
            limit=1.0,
            note="each class in its own box",
        ),
    ]


def made_labels(shape: tuple[int, int, int]) -> np.ndarray:
    """(D, H, W) uint8: balls like organs, a number each."""
    rng = np.random.default_rng(1)
    labels = np.zeros(shape, np.uint8)
    axes = np.ogrid[tuple(slice(0, n) for n in shape)]
    for number in range(1, CLASSES + 1):
        centre, radius = rng.uniform(0.2, 0.8, 3), rng.uniform(0.04, 0.15)
        away = sum(((a / n - c) / radius) ** 2 for a, n, c in zip(axes, shape, centre, strict=True))
        labels[away <= 1] = number
    return labels
