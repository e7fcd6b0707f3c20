"""Labels of a square view go back as the released code has it."""

import json
from pathlib import Path

import numpy as np
import pytest

from vesal.inference.families.biomedparse.nearest_labels import NearestLabels
from vesal.inference.geometry.square_slices import SquareSlices
from vesal.inference.geometry.views import View, VolumeGrid, whole
from vesal.inference.planning.rules import NativeLabels

Sides = tuple[int, int, int]
FIXTURE = "fixtures/biomedparse_v"


def view_of(shape: Sides, side: int) -> View:
    layout = SquareSlices(side, least=side)
    return layout.view(whole(shape), VolumeGrid(shape, (1.0, 1.0, 1.0)), 10**12, 0.0)


def placed(found: NativeLabels, shape: Sides) -> np.ndarray:
    out = np.zeros(shape, np.int64)
    out[tuple(slice(a, a + n) for a, n in zip(found.corner, found.labels.shape, strict=True))] = found.labels
    return out


def test_recorded_label_maps(shared: Path) -> None:
    """Nearest pixel, without what was filled up, on the axis that was sliced."""
    meta, compared = json.loads((shared / FIXTURE / "process_io_meta.json").read_text()), 0
    with np.load(shared / FIXTURE / "process_io.npz") as stored:
        for about in meta:
            if f"pi{about['n']}_lab_in" not in stored:
                continue
            shape, given = tuple(about["shape"]), stored[f"pi{about['n']}_lab_in"]
            labels = np.moveaxis(given, 0, about["valid_axis"])
            ids = [int(id_) for id_ in np.unique(labels) if id_]
            classes = [(id_, (labels == id_).astype(np.float32)) for id_ in ids]
            found = NearestLabels(shape).native_labels(classes, view_of(shape, about["size"]), 0.5)
            assert np.array_equal(placed(found, shape), stored[f"pi{about['n']}_lab_out"])
            compared += 1
    assert compared >= 5


@pytest.mark.parametrize("values", [(0.5, 0.5), (0.7, 0.7), (0.6, 0.7), (0.4, 0.3)])
def test_background_and_then_the_first_class_win_a_tie(values: tuple[float, float]) -> None:
    shape = (1, 2, 2)
    classes = [(9, np.full(shape, values[0], np.float32)), (4, np.full(shape, values[1], np.float32))]
    found = NearestLabels(shape).native_labels(classes, view_of(shape, 2), 0.5)
    wanted = 0 if max(values) <= 0.5 else 9 if values[0] >= values[1] else 4
    assert (found.labels == wanted).all() and found.probability.max() == np.float32(max(values))


def test_slices_by_themselves_give_what_all_give() -> None:
    shape = (5, 7, 9)
    view = view_of(shape, 4)
    values = np.random.default_rng(0).random((2, *view.shape), np.float32)
    maker = NearestLabels(shape)
    whole_map = placed(maker.native_labels(enumerate(values, 1), view, 0.5), shape)
    from vesal.inference.stages.add_results import _part_of

    parts = np.zeros(shape, np.int64)
    for first in range(0, 5, 2):
        slab = slice(first, min(5, first + 2))
        some = maker.native_labels(enumerate(values[:, slab], 1), _part_of(view, slab), 0.5)
        parts += placed(some, shape)
    assert np.array_equal(parts, whole_map)
