"""The two passes over a case: coarse over the whole volume, fine around what the coarse one found.

Medal S 2.6 (two stages), 2.3 and 2.4 (the coarse result is the spatial prompt), SegVol (zoom out, zoom in).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from inference.geometry import Box, View, fit_view, whole
from inference.models import Embedding, VolumeModel, image_channels
from inference.pace import OVERLAP_STEPS, Pace
from inference.plan import Query
from inference.profile import StageRule
from inference.region import region_of, surroundings
from inference.resample import between, to_view
from inference.windows import Blended, Predict, run_windows, window_corners, window_shape

MOST_QUERIES = 16
"""Queries in one pass of the coarse stage, where they do not see each other: bounds memory, costs one encoder
pass more for every 16."""
BLOCK_SEED = 20250
"""Seed of the complementary blocks; fixed, so that the same input gives the same bytes."""


@dataclass(frozen=True)
class Sight:
    """The volume as the stages see it."""

    image: np.ndarray
    """(D, H, W) uint8"""
    spacing_dhw_mm: tuple[float, float, float]
    statistics: tuple[float, float]
    """mean and standard deviation of ``image``"""

    def channels(self, view: View) -> np.ndarray:
        """(2, D, H, W) float32 network input on ``view``."""
        return image_channels(to_view(self.image, view), self.statistics)


@dataclass(frozen=True)
class Pass:
    """Result of one stage for some queries."""

    view: View
    probability: np.ndarray
    """(N, d, h, w) float32"""
    presence: np.ndarray
    """(N, n) float32 per slice of the view's thick axis"""
    windows: int
    skipped: int
    seconds: float
    why: str
    unseen: int = 0
    """windows left out because the time was over; the result is then good for nothing but what was seen"""


def run_coarse(
    sight: Sight, model: VolumeModel, queries: Sequence[Query], rule: StageRule, pace: Pace
) -> Pass:
    """See the whole volume at once, without spatial prompts."""
    started = time.monotonic()
    box = whole(sight.image.shape)
    view = fit_view(box, sight.spacing_dhw_mm, rule.voxels * rule.windows, rule.finest_mm)
    image = sight.channels(view)
    parts = []
    for first in range(0, len(queries), MOST_QUERIES):
        embedding = model.embed(queries[first : first + MOST_QUERIES])
        parts.append(_slide(model, image, None, embedding, view, rule, pace))
    return Pass(
        view,
        np.concatenate([p.probability for p in parts]),
        np.concatenate([p.presence for p in parts]),
        sum(p.windows for p in parts),
        sum(p.skipped for p in parts),
        time.monotonic() - started,
        f"the whole volume in {rule.windows} window(s) of up to {rule.voxels} voxels, degree {view.degree}",
        sum(p.unseen for p in parts),
    )


def run_fine(
    sight: Sight,
    model: VolumeModel,
    queries: Sequence[Query],
    rule: StageRule,
    coarse: Pass | None,
    index: Sequence[int],
    pace: Pace,
) -> Pass | None:
    """Look again at the region of some queries, with their coarse result as spatial prompt.

    Args:
        sight: the volume.
        model: the network.
        queries: those of one fine view.
        rule: the fine stage's.
        coarse: result of the coarse stage, or None where it was left out.
        index: rows of ``queries`` in ``coarse``.
        pace: asked before every window.

    Returns:
        the result, or None where the coarse stage found nothing and the rule leaves such a class empty.
    """
    started = time.monotonic()
    box, found, why = _region(sight, rule, coarse, index)
    if box is None:
        return None
    windows = rule.windows if found or coarse is None else rule.windows_if_empty
    view = fit_view(box, sight.spacing_dhw_mm, rule.voxels * windows, rule.finest_mm)
    prompt = None
    if found and coarse is not None:
        prompt = np.stack([between(coarse.probability[i], coarse.view, view) for i in index])
    image = sight.channels(view)
    embedding = model.embed(queries)
    result = _slide(model, image, prompt, embedding, view, rule, pace)
    ran, skipped, rounds = result.windows, result.skipped, f"{rule.rounds} round(s)"
    for done in range(1, rule.rounds):
        again = _slide(model, image, result.probability, embedding, view, rule, pace)
        ran, skipped = ran + again.windows, skipped + again.skipped
        if again.unseen:  # the round before is whole, or no worse
            rounds = f"{done} of {rule.rounds} rounds, as time ran short"
            break
        result = again
    why += f", {windows} window(s) of up to {rule.voxels} voxels, {rounds}, degree {view.degree}"
    seconds = time.monotonic() - started
    return Pass(view, result.probability, result.presence, ran, skipped, seconds, why, result.unseen)


def _region(
    sight: Sight, rule: StageRule, coarse: Pass | None, index: Sequence[int]
) -> tuple[Box | None, bool, str]:
    """Where the fine stage looks, whether the coarse stage pointed there, and why."""
    everything = whole(sight.image.shape)
    if coarse is None:
        return everything, False, "the whole volume, as these targets have no coarse stage"
    box = region_of(coarse.probability[list(index)], coarse.view, sight.image.shape)
    if box is not None:
        around = surroundings(box, rule.grow, coarse.view.step, sight.image.shape)
        return around, True, f"the coarse result's box grown {rule.grow:g} times"
    if rule.windows_if_empty:
        return everything, False, "the whole volume, as the coarse result is empty"
    return None, False, "nothing: the coarse result is empty"


def _slide(
    model: VolumeModel,
    image: np.ndarray,
    prompt: np.ndarray | None,
    embedding: Embedding,
    view: View,
    rule: StageRule,
    pace: Pace,
) -> Blended:
    predict = _predictor(model, embedding, rule.complementary, pace)
    overlap = _overlap(predict, image, prompt, view, rule, pace)

    def may_go_on() -> bool:
        return pace.allows_windows(1, view.degree)

    return run_windows(predict, image, prompt, view, rule.voxels, overlap, len(embedding.side), may_go_on)


def _overlap(
    predict: Predict,
    image: np.ndarray,
    prompt: np.ndarray | None,
    view: View,
    rule: StageRule,
    pace: Pace,
) -> float:
    """The widest overlap up to the rule's whose windows fit into the time left.

    Where there are several windows and none of this degree was measured yet, the first is run for its cost.
    """
    size = window_shape(view, rule.voxels)
    counts = [len(window_corners(view.shape, size, share * rule.overlap)) for share in OVERLAP_STEPS]
    if counts[0] == 1:
        return rule.overlap
    corner = (slice(None), *(slice(0, n) for n in size))
    while not pace.knows(view.degree):
        run_windows(
            predict,
            image[corner],
            None if prompt is None else prompt[corner],
            replace(view, shape=size),
            rule.voxels,
            0.0,
            0,
        )
    fitting = [
        share for share, n in zip(OVERLAP_STEPS, counts, strict=True) if pace.allows_windows(n, view.degree)
    ]
    return rule.overlap * (fitting[0] if fitting else OVERLAP_STEPS[-1])


def _predictor(model: VolumeModel, embedding: Embedding, block: int, pace: Pace) -> Predict:
    """One window's prediction; with ``block``, the mean of two that see complementary prompt halves."""

    def plain(image: np.ndarray, prompt: np.ndarray | None, degree: int) -> tuple[np.ndarray, np.ndarray]:
        return model.predict(image, prompt, embedding, degree)

    def complementary(
        image: np.ndarray, prompt: np.ndarray | None, degree: int
    ) -> tuple[np.ndarray, np.ndarray]:
        if prompt is None:
            return plain(image, None, degree)
        seen = half_of_blocks(prompt.shape[1:], block)
        first, present_first = plain(image, prompt * seen, degree)
        second, present_second = plain(image, prompt * ~seen, degree)
        return (first + second) / 2, np.maximum(present_first, present_second)

    def timed(image: np.ndarray, prompt: np.ndarray | None, degree: int) -> tuple[np.ndarray, np.ndarray]:
        with pace.window(degree):
            return (complementary if block else plain)(image, prompt, degree)

    return timed


def half_of_blocks(shape: tuple[int, int, int], block: int) -> np.ndarray:
    """(d, h, w) bool, True in a seeded random half of the blocks of ``block`` voxels a side (Medal S 2.4)."""
    grid = tuple(-(-n // block) for n in shape)
    count = int(np.prod(grid))
    chosen = np.zeros(count, bool)
    chosen[np.random.default_rng(BLOCK_SEED).permutation(count)[: max(1, count // 2)]] = True
    mask = chosen.reshape(grid)
    for axis in range(3):
        mask = mask.repeat(block, axis)
    return mask[: shape[0], : shape[1], : shape[2]]
