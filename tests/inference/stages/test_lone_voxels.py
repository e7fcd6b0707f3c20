"""Thin structures are not lost on the way to the volume's grid, and nothing else grows."""

import numpy as np
import pytest

from vesal.inference.geometry.resample import Taps, to_native
from vesal.inference.geometry.views import View
from vesal.inference.stages.label_map import LabelMap
from vesal.inference.stages.lone_voxels import find_lone_voxels
from vesal.postprocess.instances import Instances

Shape = tuple[int, int, int]


def labelled(probability: np.ndarray, shape: Shape, threshold: float = 0.5) -> np.ndarray:
    """One class (d, h, w) on a volume of ``shape``: labels."""
    d, h, w = (n / m for n, m in zip(shape, probability.shape, strict=True))
    result = LabelMap(shape, 1)
    result.add(probability, View((0.0,) * 3, (d, h, w), probability.shape, 0, 0), 1, threshold)
    return result.labels


def field(foreground: tuple[slice | int, ...], inside: float = 0.55, outside: float = 0.3) -> np.ndarray:
    """(6, 6, 6) float32."""
    values = np.full((6, 6, 6), outside, np.float32)
    values[foreground] = inside
    return values


@pytest.mark.parametrize(
    "shape", [(12, 12, 12), (6, 12, 12), (9, 14, 20), (13, 17, 24), (7, 8, 9), (18, 18, 18)]
)
def test_a_lone_voxel_becomes_the_output_voxel_nearest_to_its_centre(shape: Shape) -> None:
    found = np.argwhere(labelled(field((2, 3, 2)), shape))
    centre = [(i + 0.5) * n / 6 - 0.5 for i, n in zip((2, 3, 2), shape, strict=True)]
    # Where two are as near, interpolation may have kept both.
    assert 1 <= len(found) <= 2
    assert (np.abs(found - centre) <= 0.5 + 1e-6).all()


def test_an_even_enlargement_loses_nothing_that_an_odd_one_keeps() -> None:
    """A lone voxel in an empty volume, at every place: also at the borders."""
    for at in np.ndindex(6, 6, 6):
        for side in (6, 11, 12, 18, 24):
            labels = labelled(field(at, 0.51, 0.0), (side,) * 3)
            assert labels.any(), (at, side)
            place = np.argwhere(labels).mean(0)
            assert (np.abs((place + 0.5) * 6 / side - 0.5 - at) <= 0.5).all()


@pytest.mark.parametrize("shape", [(12, 12, 12), (14, 12, 17), (13, 24, 24)])
def test_a_thin_line_stays_one_piece(shape: Shape) -> None:
    """Along D, as a spinal canal; and a thin plane is no lattice."""
    line = labelled(field((slice(1, 5), 3, 2)), shape)
    assert len(np.unique(Instances().split(line))) == 2
    reach = np.flatnonzero(line.any((1, 2)))
    step = shape[0] / 6
    assert reach[0] <= 1.5 * step and reach[-1] >= 4.5 * step - 1
    plane = labelled(field((3, slice(1, 5), slice(1, 5))), shape)
    found = np.argwhere(plane)
    size = found.max(0) - found.min(0) + 1
    assert size[0] == 1 and len(found) >= np.prod(size) - 4  # without its corners


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_added_where_something_is_left(seed: int) -> None:
    """Noise and blocks: what is more than the threshold alone gives is far from what it does give."""
    rng = np.random.default_rng(seed)
    grid = rng.random((9, 8, 7)).astype(np.float32) ** 2
    grid[2:6, 2:6, 2:6] += rng.random() / 2
    shape = tuple(int(n) for n in rng.integers(7, 30, 3))
    d, h, w = (n / m for n, m in zip(shape, grid.shape, strict=True))
    view = View((0.0,) * 3, (d, h, w), (9, 8, 7), 0, 0)
    plain = to_native(grid, view, (0, 0, 0), shape) > 0.5
    labels = labelled(grid, shape) > 0
    assert (labels | plain == labels).all()
    centres = [(np.arange(n) + 0.5) / step - 0.5 for n, step in zip(shape, (d, h, w), strict=True)]
    for at in np.argwhere(labels & ~plain):
        near = [np.ceil(c[i] - 0.5).clip(0, n - 1) for c, i, n in zip(centres, at, grid.shape, strict=True)]
        around = [
            np.abs(c.clip(0, n - 1) - i) < 0.999 for c, i, n in zip(centres, near, grid.shape, strict=True)
        ]
        assert not plain[np.ix_(*around)].any()


def test_where_foreground_ends_nothing_is_lone() -> None:
    """A step of 1.2, at which some voxels have one output voxel alone, beyond the border."""
    ramp = np.zeros((1, 1, 10), np.float32)
    ramp[..., :5], ramp[..., 5] = 1, 0.52
    for length in (11, 12, 13, 15, 23):
        taps = [
            Taps.of(View((0.0,) * 3, (1.0, 1.0, length / 10), (1, 1, 10), 0, 0), a, slice(0, n))
            for a, n in enumerate((1, 1, length))
        ]
        assert find_lone_voxels(ramp, np.float32(0.5), taps) is None


def test_slabs_do_not_change_lone_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    from vesal.inference.stages import label_map, lone_voxels

    grid = np.random.default_rng(1).random((9, 9, 9)).astype(np.float32) ** 8
    at_once = labelled(grid, (20, 21, 22), 0.3)
    monkeypatch.setattr(label_map, "SLAB_VOXELS", 1)
    monkeypatch.setattr(lone_voxels, "BATCH", 1)
    np.testing.assert_array_equal(labelled(grid, (20, 21, 22), 0.3), at_once)
