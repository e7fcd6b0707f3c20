"""Pictures lie as radiologists want them, however the volume lies in its array."""

from itertools import permutations, product

import numpy as np
import pytest

from vesal.inference.data.orientation import OPPOSITE, AxisCodes
from vesal.inference.output.page.planes import planes_of

LINES = (("R", "L"), ("A", "P"), ("S", "I"))
ALL = [
    tuple(line[side] for line, side in zip(order, sides, strict=True))
    for order in permutations(LINES)
    for sides in product((0, 1), repeat=3)
]


def bright_towards(codes: AxisCodes, direction: str) -> np.ndarray:
    """(4, 5, 6) with ones in the half of the volume towards a direction in the patient."""
    volume = np.zeros((4, 5, 6))
    axis = next(i for i, code in enumerate(codes) if direction in (code, OPPOSITE[code]))
    half = volume.shape[axis] // 2
    part = slice(-half, None) if codes[axis] == direction else slice(half)
    volume[tuple(part if i == axis else slice(None) for i in range(3))] = 1
    return volume


@pytest.mark.parametrize("codes", ALL)
def test_right_is_on_the_left_and_front_or_head_at_the_top(codes: AxisCodes) -> None:
    """In all 48 ways to store axes; the letters say the same."""
    wanted = {"axial": ("R", "A"), "coronal": ("R", "S"), "sagittal": ("A", "S")}
    for plane in planes_of(codes):
        left, top = wanted[plane.name]
        assert plane.letters == (left, OPPOSITE[left], top, OPPOSITE[top])
        side = plane.cut(bright_towards(codes, left), 1)
        assert side[:, 0].all() and not side[:, -1].any(), (plane.name, left)
        end = plane.cut(bright_towards(codes, top), 1)
        assert end[0].all() and not end[-1].any(), (plane.name, top)
        assert plane.towards == codes[plane.axis]


def test_without_codes_nothing_is_claimed() -> None:
    """Slices along D are drawn as stored, the others with D upwards; there is no letter."""
    volume = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    across_d, across_h, across_w = planes_of(None)
    assert [plane.name for plane in (across_d, across_h, across_w)] == ["D", "H", "W"]
    assert all(plane.letters is None and plane.towards is None for plane in (across_d, across_h, across_w))
    assert np.array_equal(across_d.cut(volume, 2), volume[2])
    assert np.array_equal(across_h.cut(volume, 2), volume[::-1, 2])
    assert np.array_equal(across_w.cut(volume, 2), volume[::-1, :, 2])


def test_size_is_in_millimetres() -> None:
    """Height first."""
    axial = planes_of(("S", "P", "L"))[0]
    assert axial.size_mm((4, 5, 6), (9.0, 2.0, 0.5)) == (10.0, 3.0)
