"""What a training step looks at: whole volumes, boxes around targets, crops at native spacing."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch

from vesal.inference.families.network_input import image_channels
from vesal.inference.geometry.fit import DEGREE_RATIOS, fit_view
from vesal.inference.geometry.region import grown_region, region_of
from vesal.inference.geometry.resample import between, labels_to_view, to_view
from vesal.inference.geometry.view_groups import bounding_box, group
from vesal.inference.geometry.views import Box, Triple, View, triple
from vesal.training import device as devices
from vesal.training.augment import (
    MIRROR,
    bend,
    draw_bend,
    draw_flips,
    draw_turn,
    intensity,
    turn,
    warp,
    warp_grid,
)
from vesal.training.augment_device import channels_on, intensity_on
from vesal.training.contrast import moved_statistics, randomised
from vesal.training.device import CPU, moved
from vesal.training.ideas import Ideas
from vesal.training.runs import extent_finder
from vesal.training.simulate import spoil
from vesal.training.store import SetRule, Target, Volume

ALL = Ideas()
EXTENT = extent_finder()
MOST_TARGETS = 8
"""Targets asked for in one coarse view; more cost memory and teach no faster."""
TOGETHER, COARSER = 11, 2.5
"""Targets of a case share a fine view as at run time: at most so many (of those that were asked for in the
coarse one), and as long as the view is at most so much coarser than the finest that one of them would have
alone (``geometry.view_groups``)."""
CLOSER = (0.5, 1.1)
"""Limits of a factor on ``COARSER``, drawn for each view: organs are seen alone and among neighbours."""
GROW = (1.15, 1.8)
"""Limits of the factor that a fine view's box is grown by; the manifest's lies between them."""
SOME = 0.5
"""Share of fine views for a few of a case's targets, as if no others had been asked for."""
NEGATIVE = 0.3
"""Share of coarse views that also ask for targets of other body parts."""
ABSENT = 3
"""How many of them: a query costs little beside a view."""
STRETCH = 0.1
"""Largest stretch of an axis, as a logarithm."""
FINER, FINEST = 0.25, 0.5
"""Share of views laid as if the scan were finer than it is, and the smallest factor on its spacing:
several sets were shrunk for training, the same scans at run time are not."""
FOREIGN_BOX = 0.25
"""Share of fine views around the ground truth's box although the coarse stage found something."""


@dataclass
class Item:
    """One view, ready for the network and on its device; arrays have the thick axis first."""

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
    """as labelled in the volume"""
    asked: tuple[Target, ...]
    """as the network is asked: with sides swapped in a mirrored view"""
    flips: tuple[int, ...]
    turned: tuple[int, float]
    knots: torch.Tensor | None
    """displacements of ``augment.bend``"""


class _Pose:
    """How the arrays of one view are laid before the network."""

    def __init__(
        self,
        view: View,
        flips: tuple[int, ...],
        turned: tuple[int, float],
        knots: torch.Tensor | None,
        device: torch.device,
    ) -> None:
        """``flips``: axes as in the volume; turn and bend as in ``augment``, the thick axis first."""
        self._thick_axis, self._flips = view.thick_axis, flips
        rest = (n for a, n in enumerate(view.shape) if a != view.thick_axis)
        self._grid = warp_grid((view.shape[view.thick_axis], *rest), *turned, knots, device)

    def lay(self, arrays: torch.Tensor, mode: str) -> torch.Tensor:
        """(C, D, H, W) of a view -> mirrored, thick axis first, turned and bent."""
        if self._flips:
            arrays = arrays.flip([1 + a for a in self._flips])
        return warp(arrays.movedim(1 + self._thick_axis, 1), self._grid, mode)


def unpose(values: torch.Tensor, item: Item) -> np.ndarray:
    """``unposed`` as an array (N, d, h, w)."""
    return unposed(values, item).cpu().numpy()


def unposed(values: torch.Tensor, item: Item) -> torch.Tensor:
    """Undo bending, turn, axis order and mirror of ``values`` (N, d, h, w): back onto ``item.view``."""
    axis, angle = item.turned
    x = turn(bend(values, None if item.knots is None else -item.knots), axis, -angle)
    x = x.movedim(1, 1 + item.view.thick_axis)
    return x.flip([1 + a for a in item.flips]) if item.flips else x


def build(
    volume: Volume,
    view: View,
    stage: str,
    targets: tuple[Target, ...],
    prompt: np.ndarray | None,
    rule: SetRule,
    rng: np.random.Generator | None,
    ideas: Ideas = ALL,
    device: torch.device = CPU,
) -> Item:
    """Sample image, truth and prompt (N, d, h, w) on ``view``; augment them together if there is ``rng``.

    They are sampled by the processor and augmented where they are used, on ``device``.
    """
    image = to_view(cast(np.ndarray, volume.image), view)  # which slices it, as `Voxels` can be
    labels = moved(torch.from_numpy(_labels_on(volume, view).astype(np.float32)), device)
    flips: tuple[int, ...] = ()
    turned, knots = (0, 0.0), None
    statistics = volume.statistics
    shown = moved(torch.from_numpy(image), device)
    if rng is not None:
        given, shown = shown, randomised(shown, labels, rule.contrast, rng, view.thick_axis)
        if shown is not given:
            statistics = moved_statistics(statistics, given, shown)
        here = devices.is_processor(device)
        shown = torch.from_numpy(intensity(shown.numpy(), rng)) if here else intensity_on(shown, rng)
        flips = draw_flips(rule.flips if ideas.flips else "none", rng, rule.flipped)
        turned = draw_turn(view.degree, rng, rule.turn_rad)
        knots = draw_bend(rng) if ideas.elastic else None
    knots = None if knots is None else moved(knots, device)
    pose = _Pose(view, flips, turned, knots, device)
    # Labels as numbers and hints with the image: one pass each, however many targets there are.
    numbers = pose.lay(labels[None], "nearest")
    truth = torch.stack([(numbers[0] == t.label) & (t.label > 0) for t in targets]).float()
    hints = None if prompt is None else moved(torch.from_numpy(prompt), device)
    laid = pose.lay(shown[None] if hints is None else torch.cat([shown[None], hints]), "bilinear")
    hints = torch.zeros_like(truth) if hints is None else laid[1:].clamp(0, 1)
    mirrored = bool(flips) and rule.flips.startswith(MIRROR)
    return Item(
        volume,
        view,
        stage,
        _channels(laid[0], statistics)[None],
        hints[None],
        truth[None],
        targets,
        tuple(_other_side(t) for t in targets) if mirrored else targets,
        flips,
        turned,
        knots,
    )


def _channels(image: torch.Tensor, statistics: tuple[float, float]) -> torch.Tensor:
    """A view (d, h, w) as the network's channels (2, d, h, w), on its device."""
    if devices.is_processor(image.device):
        return torch.from_numpy(image_channels(image.numpy(), statistics))
    return channels_on(image, statistics)


def _other_side(target: Target) -> Target:
    """What a target is in the mirror."""
    return replace(target, side={"left": "right", "right": "left", None: None}[target.side])


def _jittered(spacing_dhw_mm: Triple, rng: np.random.Generator, ideas: Ideas) -> Triple:
    """Spacings as if the patient were a little thinner or longer: the view's voxels change with them."""
    if not ideas.elastic:
        return spacing_dhw_mm
    d, h, w = (s * float(np.exp(rng.uniform(-STRETCH, STRETCH))) for s in spacing_dhw_mm)
    return d, h, w


def _laid(
    box: Box,
    spacing_dhw_mm: Triple,
    voxels: int,
    rng: np.random.Generator,
    ideas: Ideas,
    finest_mm: float = 0.0,
    thickest_slice_mm: float = math.inf,
) -> View:
    """The view that a finer copy of the volume would get, for some; all but a thick axis are finer by one
    factor, so the degree of anisotropy rises as it does there.
    """
    if not ideas.elastic or rng.random() >= FINER:
        return fit_view(box, spacing_dhw_mm, voxels, finest_mm, thickest_slice_mm=thickest_slice_mm)
    factor = float(rng.uniform(FINEST, 1))
    thick = DEGREE_RATIOS[0] * min(spacing_dhw_mm)
    shares = triple(1.0 if s >= thick else factor for s in spacing_dhw_mm)
    finer = Box(*(triple(e / f for e, f in zip(edge, shares, strict=True)) for edge in (box.start, box.stop)))
    spacing = triple(s * f for s, f in zip(spacing_dhw_mm, shares, strict=True))
    view = fit_view(finer, spacing, voxels, finest_mm, thickest_slice_mm=thickest_slice_mm)
    start, step = (triple(v * f for v, f in zip(w, shares, strict=True)) for w in (view.start, view.step))
    return replace(view, start=start, step=step)


def _some(volume: Volume, most: int, rng: np.random.Generator) -> tuple[Target, ...]:
    if len(volume.targets) <= most:
        return volume.targets
    chosen = rng.choice(len(volume.targets), most, replace=False)
    return tuple(volume.targets[i] for i in sorted(chosen.tolist()))


def coarse_item(
    volume: Volume,
    rule: SetRule,
    voxels: int,
    rng: np.random.Generator,
    absent: tuple[Target, ...] = (),
    ideas: Ideas = ALL,
    plain: bool = False,
    device: torch.device = CPU,
) -> Item:
    """The whole volume in one view, a little scaled and shifted; ``absent`` must come out empty.

    ``plain``: the view is not augmented.
    """
    box = volume.body.grown(float(rng.uniform(0.85, 1.15)))
    shift = [float(rng.uniform(-0.06, 0.06)) * s for s in box.size]
    box = Box(*(triple(e + d for e, d in zip(edge, shift, strict=True)) for edge in (box.start, box.stop)))
    spacing = _jittered(volume.spacing_dhw_mm, rng, ideas)
    view = _laid(box, spacing, voxels, rng, ideas, thickest_slice_mm=volume.thickest_slice_mm)
    targets = _some(volume, MOST_TARGETS, rng)
    asked, draws = (*targets, *absent), None if plain else rng
    return build(volume, view, "coarse", asked, None, rule, draws, ideas, device)


def _labels_on(volume: Volume, view: View) -> np.ndarray:
    """The labels sampled on ``view``; reads the part of the volume that the view covers and no more."""
    ends = zip(view.box.start, view.box.stop, volume.labels.shape, strict=True)
    part = [(min(max(int(a) - 1, 0), n - 1), max(min(int(b) + 2, n), 1)) for a, b, n in ends]
    z, y, x = (slice(a, b) for a, b in part)
    labels = volume.labels[z, y, x]
    start = triple(s - a for s, (a, _) in zip(view.start, part, strict=True))
    return labels_to_view(labels, replace(view, start=start))


def truth_box(volume: Volume, targets: tuple[Target, ...]) -> Box:
    """The tight box of some targets in the ground truth."""
    places = [volume.places[t.label] for t in targets]
    start = np.min([p.start for p in places], 0)
    return Box(triple(start), triple(np.max([p.stop for p in places], 0)))


def fine_item(
    coarse: Item,
    probability: np.ndarray,
    rule: SetRule,
    voxels: int,
    rng: np.random.Generator,
    ideas: Ideas = ALL,
    plain: bool = False,
    device: torch.device = CPU,
) -> Item:
    """A view around targets that lie together, prompted by the coarse ``probability`` (N, D, H, W).

    ``plain``: the view is not augmented; its box and its prompt vary as ever.
    """
    volume = coarse.volume
    known = [i for i, t in enumerate(coarse.targets) if t.label > 0]
    if len(known) > 1 and rng.random() < SOME:
        known = sorted(rng.choice(known, int(rng.integers(1, len(known) + 1)), replace=False).tolist())
    foreign = rng.random() < FOREIGN_BOX
    boxes = [_box_of(volume, coarse, i, None if foreign else probability, rng) for i in known]
    coarser = COARSER * float(rng.uniform(*CLOSER))
    groups = group(boxes, volume.spacing_dhw_mm, voxels, TOGETHER, coarser, rule.finest_mm)
    chosen = groups[int(rng.integers(len(groups)))]
    box, known = bounding_box([boxes[i] for i in chosen]), [known[i] for i in chosen]
    targets = tuple(coarse.targets[i] for i in known)
    # A target that is not there is asked for again, as it is at run time beside others.
    absent = [i for i, t in enumerate(coarse.targets) if t.label == 0][: TOGETHER - len(known)]
    if rng.random() < rule.crops:
        view = _crop(volume, targets, voxels, rng)
    else:
        box = grown_region(box, float(rng.uniform(*GROW)), coarse.view.step, volume.image.shape)
        spacing = _jittered(volume.spacing_dhw_mm, rng, ideas)
        view = _laid(box, spacing, voxels, rng, ideas, rule.finest_mm, volume.thickest_slice_mm)
    targets, known = (*targets, *(coarse.targets[i] for i in absent)), known + absent
    if ideas.own:
        prompt = np.stack([between(p, coarse.view, view) for p in probability[known]])
    else:
        labels = _labels_on(volume, view)
        prompt = np.stack([(labels == t.label) & (t.label > 0) for t in targets]).astype(np.float32)
    if ideas.simulation:
        prompt = spoil(prompt, rng)
    return build(volume, view, "fine", targets, prompt, rule, None if plain else rng, ideas, device)


def _box_of(
    volume: Volume, coarse: Item, index: int, probability: np.ndarray | None, rng: np.random.Generator
) -> Box:
    """Where the coarse stage saw a target; by the ground truth, a little shifted, where it did not, or where
    its ``probability`` is not to be used.
    """
    true = truth_box(volume, (coarse.targets[index],))
    if probability is not None:
        box = region_of(probability[[index]], coarse.view, volume.image.shape, extent_of=EXTENT)
        if box is not None and _reaches(box, true):
            return box
    shift = [float(rng.uniform(-0.12, 0.12)) * s for s in true.size]
    return Box(*(triple(e + d for e, d in zip(edge, shift, strict=True)) for edge in (true.start, true.stop)))


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
    seeds = np.concatenate([volume.places[t.label].seeds for t in targets])
    centre = seeds[int(rng.integers(len(seeds)))].astype(float)
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
    return fit_view(box, volume.spacing_dhw_mm, voxels, finest, thickest_slice_mm=volume.thickest_slice_mm)
