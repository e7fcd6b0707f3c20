"""What a training step looks at: whole volumes, boxes around targets, crops at native spacing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from inference.geometry import Box, View, fit_view, whole
from inference.models import image_channels
from inference.region import region_of
from inference.resample import between, labels_to_view, to_view
from training.augment import draw_flips, draw_turn, intensity, turn
from training.simulate import spoil
from training.store import SetRule, Target, Volume

MOST_TARGETS = 5
"""Targets asked for in one coarse view; more cost memory and teach no faster."""
TOGETHER = 3
"""Up to this many targets of a case share one fine view, as at run time."""
NEGATIVE = 0.1
"""Share of coarse views that also ask for a target of another body part."""
FOREIGN_BOX = 0.25
"""Share of fine views around the ground truth's box although the coarse stage found something."""


@dataclass
class Item:
    """One view, ready for the network; arrays have the thick axis first."""

    volume: Volume
    view: View
    stage: str
    image: torch.Tensor
    """(1, 2, d, h, w) float32"""
    prompt: torch.Tensor
    """(1, N, d, h, w) float32"""
    truth: torch.Tensor
    """(1, N, d, h, w) float32"""
    targets: tuple[Target, ...]
    flips: tuple[int, ...]
    turned: tuple[int, float]


def _pose(
    arrays: torch.Tensor, view: View, flips: tuple[int, ...], turned: tuple[int, float], mode: str
) -> torch.Tensor:
    """(C, D, H, W) of a view -> thick axis first, mirrored and turned."""
    x = arrays.movedim(1 + view.thick_axis, 1)
    if flips:
        x = x.flip([1 + a for a in flips])
    return turn(x, *turned, mode)


def unpose(values: torch.Tensor, item: Item) -> np.ndarray:
    """Undo mirror, turn and axis order of ``values`` (N, d, h, w): back onto ``item.view``."""
    axis, angle = item.turned
    x = turn(values, axis, -angle)
    if item.flips:
        x = x.flip([1 + a for a in item.flips])
    return x.movedim(1, 1 + item.view.thick_axis).numpy()


def build(
    volume: Volume,
    view: View,
    stage: str,
    targets: tuple[Target, ...],
    prompt: np.ndarray | None,
    rule: SetRule,
    rng: np.random.Generator,
) -> Item:
    """Sample image, truth and prompt on ``view`` and augment them together."""
    image = intensity(to_view(volume.image, view), rng)
    labels = labels_to_view(volume.labels, view)
    truth = torch.from_numpy(
        np.stack([(labels == t.label) & (t.label > 0) for t in targets]).astype(np.float32)
    )
    hints = torch.zeros_like(truth) if prompt is None else torch.from_numpy(prompt)
    flips, turned = draw_flips(rule.flips, rng), draw_turn(view.degree, rng)
    raw = _pose(torch.from_numpy(image)[None], view, flips, turned, "bilinear")[0].numpy()
    channels = image_channels(raw, volume.statistics)
    return Item(
        volume,
        view,
        stage,
        torch.from_numpy(channels)[None],
        _pose(hints, view, flips, turned, "bilinear")[None].clamp(0, 1),
        _pose(truth, view, flips, turned, "nearest")[None],
        targets,
        flips,
        turned,
    )


def _some(volume: Volume, most: int, rng: np.random.Generator) -> tuple[Target, ...]:
    if len(volume.targets) <= most:
        return volume.targets
    chosen = rng.choice(len(volume.targets), most, replace=False)
    return tuple(volume.targets[i] for i in sorted(chosen.tolist()))


def coarse_item(
    volume: Volume, rule: SetRule, voxels: int, rng: np.random.Generator, absent: Target | None = None
) -> Item:
    """The whole volume in one view, a little scaled and shifted; ``absent`` must come out empty."""
    box = whole(volume.image.shape).grown(float(rng.uniform(0.85, 1.15)))
    shift = [float(rng.uniform(-0.06, 0.06)) * s for s in box.size]
    box = Box(*(tuple(e + d for e, d in zip(edge, shift, strict=True)) for edge in (box.start, box.stop)))
    view = fit_view(box, volume.spacing_dhw_mm, int(voxels * rng.uniform(0.6, 1.0)))
    targets = _some(volume, MOST_TARGETS, rng)
    if absent is not None:
        targets = (*targets, absent)
    return build(volume, view, "coarse", targets, None, rule, rng)


def truth_box(volume: Volume, targets: tuple[Target, ...]) -> Box:
    """The tight box of some targets in the ground truth."""
    mask = np.isin(volume.labels, [t.label for t in targets])
    index = [np.flatnonzero(mask.any(tuple(x for x in range(3) if x != axis))) for axis in range(3)]
    return Box(tuple(float(i[0]) for i in index), tuple(float(i[-1] + 1) for i in index))


def fine_item(
    coarse: Item, probability: np.ndarray, rule: SetRule, voxels: int, rng: np.random.Generator
) -> Item:
    """A view around one to three targets, prompted by the coarse ``probability`` (N, D, H, W)."""
    volume = coarse.volume
    known = [i for i, t in enumerate(coarse.targets) if t.label > 0]
    if len(volume.targets) > TOGETHER:
        known = [int(rng.choice(known))]
    targets = tuple(coarse.targets[i] for i in known)
    if rng.random() < rule.crops:
        view = _crop(volume, targets, voxels, rng)
    else:
        box = None
        if rng.random() >= FOREIGN_BOX:
            box = region_of(probability[known], coarse.view, volume.image.shape)
        true = truth_box(volume, targets)
        if box is None or not _reaches(box, true):
            shift = [float(rng.uniform(-0.12, 0.12)) * s for s in true.size]
            box = Box(
                *(tuple(e + d for e, d in zip(edge, shift, strict=True)) for edge in (true.start, true.stop))
            )
        view = fit_view(
            box.grown(float(rng.uniform(1.15, 1.8))),
            volume.spacing_dhw_mm,
            int(voxels * rng.uniform(0.6, 1.0)),
        )
    prompt = np.stack([between(p, coarse.view, view) for p in probability[known]])
    return build(volume, view, "fine", targets, spoil(prompt, rng), rule, rng)


def _reaches(box: Box, true: Box) -> bool:
    """Whether ``box`` covers at least half of ``true`` along every axis: else the view would teach
    nothing.
    """
    covered = [
        min(b, d) - max(a, c) for a, b, c, d in zip(box.start, box.stop, true.start, true.stop, strict=True)
    ]
    return all(c >= 0.5 * s for c, s in zip(covered, true.size, strict=True))


def _crop(volume: Volume, targets: tuple[Target, ...], voxels: int, rng: np.random.Generator) -> View:
    """A crop at (nearly) native spacing around a random voxel of the targets."""
    where = np.flatnonzero(np.isin(volume.labels, [t.label for t in targets]))
    centre = np.array(np.unravel_index(int(rng.choice(where)), volume.labels.shape), float)
    finest = min(volume.spacing_dhw_mm) * float(rng.uniform(0.9, 1.5))
    side_mm = (voxels * rng.uniform(0.4, 0.9)) ** (1 / 3) * finest
    half = (
        np.minimum(
            np.maximum(side_mm / np.array(volume.spacing_dhw_mm), 1), np.array(volume.labels.shape) * 1.1
        )
        / 2
    )
    centre += rng.uniform(-0.5, 0.5, 3) * half
    box = Box(tuple((centre - half).tolist()), tuple((centre + half).tolist()))
    return fit_view(box, volume.spacing_dhw_mm, voxels, finest)
