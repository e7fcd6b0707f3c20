"""Label maps in other shapes: smooth deformations that fold nowhere, and shapes between two subjects.

There are three label maps of a whole abdomen, so a network that sees them bent a little learns three
pancreases. Here a map is deformed by a random diffeomorphism, the flow of a smooth stationary velocity
(scaling and squaring, Arsigny et al. 2006), and moved part of the way towards another subject's organs.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from scipy.interpolate import RBFInterpolator
from torch import Tensor

from vesal.inference.geometry.views import Triple

GRID = 24
"""Points a side at which a deformation is computed; it is smooth, and interpolated between them."""
KNOTS = (3, 6)
"""Points a side at which velocities are drawn: fewer are larger movements."""
SQUARINGS = 6
LEAST_VOXELS = 50
"""A structure with fewer says nothing of where it lies."""
STIFFNESS = 2.0
"""Smoothing of the spline between landmarks: organs that lie otherwise must not fold what is between."""
LEAST_JACOBIAN = 0.15
"""A deformation that shrinks any place more is made weaker."""


def random_flow(rng: np.random.Generator, amount: float) -> Tensor:
    """A random diffeomorphism.

    Args:
        rng: source of all that is drawn.
        amount: largest velocity at a knot, as a share of a side.

    Returns:
        (1, 3, g, g, g) float32 displacements as shares of the sides, in the order (x, y, z).
    """
    flow = torch.zeros(1, 3, GRID, GRID, GRID)
    for knots in KNOTS:
        drawn = rng.uniform(-amount, amount, (1, 3, knots, knots, knots)) / (knots - 1)
        coarse = torch.from_numpy(drawn.astype(np.float32))
        flow = flow + F.interpolate(coarse, (GRID,) * 3, mode="trilinear", align_corners=True)
    flow = flow / 2**SQUARINGS
    for _ in range(SQUARINGS):
        flow = then(flow, flow)
    return flow


def then(first: Tensor, second: Tensor) -> Tensor:
    """Two displacements (1, 3, g, g, g), one after the other, as one."""
    return first + F.grid_sample(second, _places(first), "bilinear", "border", align_corners=True)


def moved(labels: np.ndarray, flow: Tensor) -> np.ndarray:
    """Labels (D, H, W) read at the displaced places, the nearest voxel; 0 comes in from outside."""
    grid = F.interpolate(flow, tuple(labels.shape), mode="trilinear", align_corners=True)
    values = torch.from_numpy(labels.astype(np.float32))[None, None]
    read = F.grid_sample(values, _places(grid), "nearest", "zeros", align_corners=True)
    return read[0, 0].numpy().astype(labels.dtype)


def towards(
    labels: np.ndarray,
    spacing_dhw_mm: Triple,
    structures: Mapping[int, str],
    other: Mapping[str, np.ndarray],
    share: float,
) -> Tensor:
    """Displacements that bring organs part of the way to where they lie in another subject.

    Args:
        labels: (D, H, W), of the one subject.
        spacing_dhw_mm: its voxels.
        structures: names of its labels.
        other: landmarks of the other one, see ``landmarks``.
        share: 0 stays, 1 is the other one's places.

    Returns:
        as ``random_flow``; weaker where it would fold.
    """
    own = landmarks(labels, spacing_dhw_mm, structures)
    names = sorted(set(own) & set(other))
    if len(names) < 4:
        return torch.zeros(1, 3, GRID, GRID, GRID)
    here = np.concatenate([own[name] for name in names])
    there = _aligned(here, np.concatenate([other[name] for name in names]))
    # The label map is read at displaced places, so the way goes from the new place to the old one.
    new = here + share * (there - here)
    spline = RBFInterpolator(new / 100, here - new, kernel="thin_plate_spline", smoothing=STIFFNESS)
    sides = np.array([n * s for n, s in zip(labels.shape, spacing_dhw_mm, strict=True)])
    axes = [np.linspace(0, side, GRID) for side in sides]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    shift = spline(points / 100) / sides
    flow = torch.from_numpy(shift.astype(np.float32)).T.reshape(3, GRID, GRID, GRID).flip(0)[None]
    return unfolded(flow)


def landmarks(
    labels: np.ndarray, spacing_dhw_mm: Triple, structures: Mapping[int, str]
) -> dict[str, np.ndarray]:
    """Of each structure its middle, and the ends of its box through the middle: (7, 3) in mm, (D, H, W)."""
    found = {}
    for label, name in structures.items():
        at = np.argwhere(labels == label)
        if len(at) < LEAST_VOXELS:
            continue
        at = (at + 0.5) * np.array(spacing_dhw_mm)
        points = np.repeat(at.mean(0)[None], 7, 0)
        for axis in range(3):
            points[1 + 2 * axis : 3 + 2 * axis, axis] = np.quantile(at[:, axis], (0.05, 0.95))
        found[name] = points
    return found


def unfolded(flow: Tensor) -> Tensor:
    """A displacement (1, 3, g, g, g), halved until no place of it is folded or nearly so."""
    while float(jacobian(flow).min()) < LEAST_JACOBIAN:
        flow = flow / 2
    return flow


def jacobian(flow: Tensor) -> Tensor:
    """Determinants of the derivative of a displacement (1, 3, g, g, g), one in each cell: how much each place
    is enlarged.
    """
    places = (flow * (GRID - 1))[0].flip(0)  # (z, y, x), in cells
    cell = places[:, :-1, :-1, :-1]
    columns = [
        places[:, 1:, :-1, :-1] - cell,
        places[:, :-1, 1:, :-1] - cell,
        places[:, :-1, :-1, 1:] - cell,
    ]
    return torch.linalg.det(torch.stack(columns, 0).permute(2, 3, 4, 1, 0) + torch.eye(3))


def _aligned(here: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Landmarks of the other subject with the same middle, each axis in the direction that fits best: where a
    scan begins, and how it is stored, is no shape.
    """
    there = there - there.mean(0)
    middle = here.mean(0)
    ways = [_mirrored(there, signs) for signs in product((1, -1), repeat=3)]
    return min(ways, key=lambda way: float(((way + middle - here) ** 2).sum())) + middle


def _mirrored(there: np.ndarray, signs: tuple[int, ...]) -> np.ndarray:
    """Landmarks (7 n, 3) about 0 with some axes reversed: an end of a box becomes the other end."""
    order = [
        0,
        *(1 + 2 * axis + (end if sign > 0 else 1 - end) for axis, sign in enumerate(signs) for end in (0, 1)),
    ]
    return (there * np.array(signs)).reshape(-1, 7, 3)[:, order].reshape(-1, 3)


def _places(flow: Tensor) -> Tensor:
    """Where a displaced grid reads, as ``grid_sample`` wants it: (1, D, H, W, 3), from corner to corner."""
    shape = flow.shape[2:]
    axes = [torch.linspace(-1, 1, n) for n in shape]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, z], -1)[None] + 2 * flow.permute(0, 2, 3, 4, 1)
