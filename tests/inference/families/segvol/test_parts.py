"""Parts of the family ``segvol`` by hand: regions, windows, tokens, drawn points."""

from __future__ import annotations

import numpy as np
import pytest

from vesal.inference.families.segvol.draws import draw_points
from vesal.inference.families.segvol.layouts import Zoomed, window_starts
from vesal.inference.families.segvol.network import enlarge
from vesal.inference.families.segvol.preprocess import look_at
from vesal.inference.families.segvol.prompts import Asked, MapWindow, Marked, box_of, same_tokens
from vesal.inference.families.segvol.regions import ZoomRegion, round_out
from vesal.inference.geometry.views import Box, VolumeGrid


@pytest.mark.parametrize(
    ("length", "overlap", "starts"),
    [(32, 0.5, [0]), (10, 0.5, [0]), (33, 0.5, [0, 1]), (48, 0.5, [0, 16]), (63, 0.5, [0, 16, 31])]
    + [(63, 0.0, [0, 31]), (63, 0.25, [0, 24, 31])],
)
def test_the_last_window_is_shifted_back(length: int, overlap: float, starts: list[int]) -> None:
    assert window_starts(length, 32, overlap) == starts


def test_what_is_missing_of_a_window_is_added_half_before() -> None:
    box = Box((2.0, 0.0, 3.0), (7.0, 8.0, 20.0))
    view = Zoomed((8, 8, 8)).view(box, VolumeGrid((9, 9, 30), (1.0, 1.0, 1.0)), 0, 0.0)
    assert view.start == (1.0, 0.0, 3.0) and view.shape == (8, 8, 17)


def test_shared_regions_lie_on_half_windows_and_end_with_the_volume() -> None:
    assert round_out((18, 40), 32, 100) == (16, 48)
    assert round_out((70, 100), 32, 100) == (64, 100)
    assert round_out((90, 100), 32, 100) == (64, 100)
    assert round_out((0, 10), 32, 20) == (0, 20)


def test_nothing_found_is_no_region() -> None:
    region = ZoomRegion((1, 2, 3), (10, 10, 10), (4, 4, 4))
    box, why = region.region(np.full((4, 4, 4), 0.5, np.float32), None)
    assert box is None and "no foreground" in why
    assert region.region(None, None)[0] == Box((1.0, 2.0, 3.0), (11.0, 12.0, 13.0))


def test_tokens_have_the_released_order() -> None:
    text, box = np.ones(3, np.float32), np.arange(6, dtype=np.float32)
    points, labels = np.full((2, 3), 7, np.float32), np.array([1, 0], np.float32)
    kinds = {
        "text": (Asked(text), [4]),
        "box": (Asked(box=box), [2, 3]),
        "points": (Asked(points=points, labels=labels), [1, 0, -1]),
        "points and text": (Asked(text, points=points, labels=labels), [1, 0, -1, 4]),
        "all": (Asked(text, box, points, labels), [1, 0, 2, 3, 4]),
    }
    for asked, wanted in kinds.values():
        places, found = asked.tokens()
        assert found.tolist() == wanted and places.shape == (len(wanted), 3)
    assert Asked(box=box).tokens()[0].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert same_tokens([each for each, _ in kinds.values()]) == [[0], [1], [2], [3], [4]]


def test_a_window_without_foreground_is_asked_with_minus_one() -> None:
    assert box_of(np.zeros((2, 2, 2), bool)).tolist() == [-1] * 6
    cut = MapWindow((8, 8, 8), (8, 8, 8), (4, 4, 4), (8, 8, 8))
    marked = Marked(((0, 0, 0), (3, 3, 3)), (((1, 1, 1), True), ((6, 6, 6), False)))
    box = marked.box_in(cut)
    assert box is not None and box.tolist() == [-1] * 6
    assert not len(marked.points_in(cut)), "what is outside, or background, is not drawn from"


def test_points_are_drawn_by_case_prompt_and_window() -> None:
    marked = np.argwhere(np.ones((5, 5, 5)))
    first = draw_points(b"case", "1 liver", (0, 0, 0), marked, 4)
    again = draw_points(b"case", "1 liver", (0, 0, 0), marked, 4)
    np.testing.assert_array_equal(first[0], again[0])
    others = [
        (b"other", "1 liver", (0, 0, 0)),
        (b"case", "2 liver", (0, 0, 0)),
        (b"case", "1 liver", (1, 0, 0)),
    ]
    for other in others:
        assert (draw_points(*other, marked, 4)[0] != first[0]).any()
    assert first[1].tolist() == [1] * 5
    few, labels = draw_points(b"case", "1 liver", (0, 0, 0), marked[:2], 4)
    assert labels.tolist() == [1, 1, 1, -1, -1] and few[3:].tolist() == [[-1] * 3] * 2
    none, labels = draw_points(b"case", "1 liver", (0, 0, 0), marked[:0], 4)
    assert none.tolist() == [[-1] * 3] and labels.tolist() == [-1]


def test_bytes_are_measured_as_any_numbers() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        numbers = rng.normal(rng.integers(0, 200), rng.integers(1, 90), (7, 9, 11))
        volume = np.clip(numbers, 0, 255).astype(np.uint8)
        mine, wanted = look_at(volume), look_at(volume.astype(np.int16))
        assert (mine.start, mine.shape) == (wanted.start, wanted.shape)
        ends = [(each.grey.low, each.grey.high, each.grey.mean, each.grey.std) for each in (mine, wanted)]
        np.testing.assert_allclose(*ends, rtol=1e-9)


def test_logits_are_enlarged_as_by_torch() -> None:
    torch = pytest.importorskip("torch", reason="it is what is compared with")
    low = np.random.default_rng(0).normal(size=(4, 6, 5)).astype(np.float32)
    out = np.empty((4, 24, 20), np.float32)
    enlarge(low, out)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(low)[None, None], out.shape, mode="trilinear", align_corners=False
    )
    np.testing.assert_allclose(out, theirs[0, 0].numpy(), atol=1e-5)
