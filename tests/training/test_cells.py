"""Drawn cells: each in one piece, touching, clipped, deformed, seen in the image, and the same of a seed."""

import itertools

import cc3d
import numpy as np
import pytest

from vesal.training.cells import Cells, draw_cells, drawn_cells
from vesal.training.object_targets import touching_faces


@pytest.fixture(scope="module")
def drawn() -> list[Cells]:
    """Some volumes."""
    return list(itertools.islice(drawn_cells(3), 12))


def test_a_cell_is_one_piece_and_numbers_are_whole(drawn: list[Cells]) -> None:
    for cells in drawn:
        count = int(cells.labels.max())
        assert np.array_equal(np.unique(cells.labels), np.arange(count + 1))
        assert cc3d.connected_components(cells.labels, connectivity=6, return_N=True)[1] == count
        assert cells.image.shape == cells.labels.shape and cells.image.dtype == np.uint8


def test_many_touch_some_are_clipped_and_some_slices_are_thick(drawn: list[Cells]) -> None:
    assert sum(touching_faces(cells.labels).any() for cells in drawn) > len(drawn) / 2
    assert sum((cells.labels[0] > 0).any() for cells in drawn) > len(drawn) / 2
    thick = {cells.spacing_dhw_mm[0] > 1 for cells in drawn}
    assert thick == {True, False}


def test_cells_differ_from_what_is_around_them(drawn: list[Cells]) -> None:
    for cells in drawn:
        inside = cells.labels > 0
        means = [float(cells.image[part].mean()) for part in (inside, ~inside)]
        assert abs(means[0] - means[1]) > 2


def test_sizes_and_shapes_are_many(drawn: list[Cells]) -> None:
    typical = [float(np.median(np.bincount(cells.labels.ravel())[1:])) for cells in drawn]
    assert max(typical) > 10 * min(typical)
    sides = [cc3d.statistics(cells.labels)["bounding_boxes"][1:] for cells in drawn]
    ratios = [
        max(s.stop - s.start for s in box) / min(s.stop - s.start for s in box) for b in sides for box in b
    ]
    assert np.percentile(ratios, 90) > 2


def test_the_same_seed_gives_the_same_bytes() -> None:
    a, b, other = (draw_cells(np.random.default_rng([1, n])) for n in (0, 0, 1))
    assert a.image.tobytes() == b.image.tobytes() and a.labels.tobytes() == b.labels.tobytes()
    assert a.image.tobytes() != other.image.tobytes()
