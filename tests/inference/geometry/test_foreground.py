"""The box of what a volume holds."""

from pathlib import Path

import numpy as np
import pytest

from vesal.inference.geometry.foreground import AIR, foreground_box
from vesal.inference.geometry.views import whole


def test_air_around_a_body_is_cut_off_with_a_margin() -> None:
    image = np.zeros((40, 100, 100), np.uint8)
    image[5:30, 20:70, 40:90] = 80
    box = foreground_box(image)
    for start, stop, first, last, n in zip(
        box.start, box.stop, (5, 20, 40), (30, 70, 90), (40, 100, 100), strict=True
    ):
        assert first - 0.05 * n <= start < first and last < stop <= last + 0.05 * n


@pytest.mark.parametrize("value", [0, AIR])
def test_an_empty_volume_is_looked_at_whole(value: int) -> None:
    assert foreground_box(np.full((8, 9, 10), value, np.uint8)) == whole((8, 9, 10))


def test_a_full_volume_is_looked_at_whole() -> None:
    assert foreground_box(np.full((8, 9, 10), 200, np.uint8)) == whole((8, 9, 10))


def test_specks_of_noise_do_not_count() -> None:
    image = np.zeros((50, 60, 60), np.uint8)
    image[20:30, 20:40, 20:40] = 100
    image[0, 3, 3] = 255
    assert foreground_box(image).start[0] > 15


def test_a_large_volume_is_sampled_and_nothing_of_the_body_is_lost() -> None:
    image = np.zeros((200, 300, 300), np.uint8)
    image[31:163, 47:251, 99:201] = 90
    box = foreground_box(image)
    assert all(s <= f for s, f in zip(box.start, (31, 47, 99), strict=True))
    assert all(s >= last for s, last in zip(box.stop, (163, 251, 201), strict=True))
    assert box.start[0] > 20 and box.stop[2] < 220


def test_nothing_labelled_is_cut_off_in_the_real_cases(shared: Path) -> None:
    for path in sorted((shared / "cases" / "imgs").glob("*.npz")):
        with np.load(path) as case, np.load(shared / "cases" / "gts" / path.name) as truth:
            box, labels = foreground_box(case["imgs"]), truth["gts"]
        for axis in range(3):
            found = np.flatnonzero(labels.any(tuple(a for a in range(3) if a != axis)))
            assert box.start[axis] <= found[0] and found[-1] < box.stop[axis], path.name
