"""Fractal Volumetric Encoding: a slice and what is around it as one image of three channels.

BiomedParse-V, section 3.2 and algorithm 1. One channel holds the slice, one what is before it and one what is
behind it. In these the nearest slices take the most pixels: at each level three slices are halved and take
three of every four pixels, and the fourth holds the level below, down to a single slice. The released network
was trained with order 1: the slice, the one before and the one behind.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

NEAREST, AREA = "nearest", "area"


def slices_per_side(order: int) -> int:
    """How many slices an encoding of ``order``, 1 or more, holds on each side."""
    return 3 * order - 2


def side_multiple(order: int) -> int:
    """What sides of a slice are multiples of, so that it can be halved as often as ``order`` asks."""
    return 1 << (order - 1)


def fractal_images(slices: np.ndarray, order: int, halving: str = NEAREST) -> np.ndarray:
    """Encode every slice that has its neighbours.

    Args:
        slices: (S + 2 n, h, w) of any number type, n of ``slices_per_side``.
        order: k of the paper, 1 or more; sides are multiples of ``side_multiple``.
        halving: how slices are made smaller, which the paper leaves open: ``nearest`` takes the first of
            every four pixels, ``area`` their mean.

    Returns:
        (S, 3, h, w) of the same type, float32 for ``area``: slice, before, behind.
    """
    reach = slices_per_side(order)
    count = len(slices) - 2 * reach
    halved = HALVINGS[halving]
    images = []
    for at in range(reach, reach + count):
        before, behind = slices[at - reach : at][::-1], slices[at + 1 : at + 1 + reach]
        images.append(np.stack([slices[at], *(_channel(side, order, halved) for side in (before, behind))]))
    return np.stack(images)


def _channel(side: np.ndarray, order: int, halved: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """(h, w) of the slices (n, h, w) on one side, the nearest first."""
    if order == 1:
        nearest: np.ndarray = side[0]
        return nearest
    low = halved(side)
    return mixed([*low[:3], _channel(low[3:], order - 1, halved)])


def mixed(four: Sequence[np.ndarray]) -> np.ndarray:
    """Four images (h, w) as one (2h, 2w): every square of four pixels holds one of each (pixel_mix)."""
    h, w = four[0].shape
    out = np.empty((2 * h, 2 * w), four[0].dtype)
    for place, image in enumerate(four):
        out[place // 2 :: 2, place % 2 :: 2] = image
    return out


def _first_of_four(slices: np.ndarray) -> np.ndarray:
    return slices[:, ::2, ::2]


def _mean_of_four(slices: np.ndarray) -> np.ndarray:
    n, h, w = slices.shape
    mean: np.ndarray = slices.reshape(n, h // 2, 2, w // 2, 2).mean((2, 4), dtype=np.float32)
    return mean


HALVINGS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {NEAREST: _first_of_four, AREA: _mean_of_four}
