"""What windows are asked by boxes and points, against recordings whose volumes need not be there."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np

from tests.inference.families.segvol.recorded import FIELDS, WINDOW, Run, read_runs
from vesal.inference.families.segvol.layouts import Zoomed
from vesal.inference.families.segvol.preprocess import Grey, Seen
from vesal.inference.families.segvol.prompts import Marked
from vesal.inference.families.segvol.stage import EncodedWindow, SeenCase
from vesal.inference.geometry.nearest import nearest_exact
from vesal.inference.geometry.views import Box, Sides, VolumeGrid, triple

SHAPES: dict[str, Sides] = {"A": (23, 130, 210), "B": (40, 90, 130), "C": (12, 50, 80)}
"""Of the recorded volumes."""


def windows_of(run: Run) -> list[EncodedWindow]:
    """The windows of zoom-in, in the order of the recorded calls."""
    shape = SHAPES[run.volume]
    stops = [min(last + 1, n) for last, n in zip(run.roi[3:], shape, strict=True)]
    box = Box(triple(float(n) for n in run.roi[:3]), triple(float(n) for n in stops))
    view = Zoomed(WINDOW).view(box, VolumeGrid(shape, (1.0, 1.0, 1.0)), 0, 0.0)
    seen = SeenCase(Seen(Grey(0, 1, 0, 1), (0, 0, 0), shape), b"", OrderedDict())
    return [
        EncodedWindow(None, seen, view, corner, WINDOW) for corner in view.tiling.corners(view, WINDOW, 0.5)
    ]


def test_each_region_has_as_many_windows_as_were_recorded(shared: Path) -> None:
    for run in read_runs(shared, "fake"):
        assert len(windows_of(run)) == len(run.calls) - 1, run.name


def test_a_window_that_is_alone_has_the_box_of_the_map(shared: Path) -> None:
    alone = [run for run in read_runs(shared, "fake") if run.calls[0]["boxes"] and len(run.calls) == 2]
    for run in alone:
        sides = [int(side) for side in run.calls[0]["boxes"]]
        [window] = windows_of(run)
        box = Marked((tuple(sides[:3]), tuple(sides[3:]))).box_in(window.map_window)
        assert box is not None and box.tolist() == run.calls[1]["boxes"], run.name


def test_points_are_drawn_among_those_of_the_map(shared: Path) -> None:
    runs = [run for run in read_runs(shared, "fake") if run.calls[0]["points"]]
    assert runs
    for run in runs:
        places, labels = (np.array(each[0]) for each in run.calls[0]["points"])
        points = tuple((tuple(map(int, at)), label > 0) for at, label in zip(places, labels, strict=True))
        for window, call in zip(windows_of(run), run.calls[1:], strict=True):
            mine = Marked(points=points).points_in(window.map_window)
            chosen, kinds = (np.array(each[0]) for each in call["points"])
            known = set(map(tuple, mine.tolist()))
            assert set(map(tuple, chosen[kinds == 1].astype(int).tolist())) <= known, run.name
            assert np.count_nonzero(kinds == 1) == 1 + min(FIELDS.extra_points, len(known)), run.name


def test_a_box_of_the_user_is_that_of_its_label(shared: Path) -> None:
    rng = np.random.default_rng(0)
    for shape in SHAPES.values():
        for _ in range(50):
            first = [int(rng.integers(0, n - 1)) for n in shape]
            stop = [int(rng.integers(a + 1, n + 1)) for a, n in zip(first, shape, strict=True)]
            boxes = np.array([[first, stop]], np.float64)
            found = Marked.of(boxes, np.zeros((0, 4)), (0, 0, 0), shape, WINDOW).box
            label = np.zeros(shape, bool)
            label[tuple(slice(a, b) for a, b in zip(first, stop, strict=True))] = True
            small = label[np.ix_(*(nearest_exact(m, n) for m, n in zip(WINDOW, shape, strict=True)))]
            hit = np.argwhere(small)
            if len(hit):
                assert found == (tuple(hit.min(0)), tuple(hit.max(0)))
