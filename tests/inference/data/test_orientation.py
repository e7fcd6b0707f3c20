"""How a volume lies: axis codes, and the way to the canonical ones and back."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest

from tests.inference.fake_models import make_case, make_prompt
from vesal.inference.data.case import Case
from vesal.inference.data.orientation import CANONICAL, STORED, AxisCodes, Orientation, towards

LINES = (("S", "I"), ("A", "P"), ("L", "R"))
ALL_CODES = [codes for lines in permutations(LINES) for codes in product(*lines)]


def test_there_are_48_ways_to_store_axes() -> None:
    assert len(set(ALL_CODES)) == 48


@pytest.mark.parametrize("codes", ALL_CODES, ids="".join)
def test_every_way_is_turned_to_the_canonical_one_and_back(codes: AxisCodes) -> None:
    orientation = towards(codes)
    volume = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    turned = orientation.turn(volume)
    assert orientation.turn_codes(codes) == CANONICAL
    assert turned.shape == orientation.axes(volume.shape)
    np.testing.assert_array_equal(orientation.back(turned), volume)
    # A step along an axis of the turned volume is one along the axis of the same line in the stored one.
    index = {code: turned[tuple(int(i == axis) for i in range(3))] for axis, code in enumerate(CANONICAL)}
    corner = [0 if code in CANONICAL else n - 1 for code, n in zip(codes, volume.shape, strict=True)]
    for axis, code in enumerate(codes):
        step = list(corner)
        step[axis] += 1 if code in CANONICAL else -1
        line = next(line for line in LINES if code in line)
        assert index[next(c for c in CANONICAL if c in line)] == volume[tuple(step)]


def test_canonical_axes_are_not_turned() -> None:
    assert towards(CANONICAL) == STORED


def test_a_case_that_is_turned_has_its_codes_turned() -> None:
    case = make_case(np.zeros((2, 3, 4), np.uint8), [make_prompt(1, "liver")])
    orientation = Orientation((1, 0, 2), (2,))
    assert orientation.turn_case(case).axis_codes is None
    turned = orientation.turn_case(replace(case, axis_codes=CANONICAL))
    assert turned.axis_codes == ("P", "S", "R")


def test_two_ways_after_each_other_are_one() -> None:
    volume = np.arange(24).reshape(2, 3, 4)
    ways = [
        Orientation((order[0], order[1], order[2]), axes)
        for order in permutations(range(3))
        for axes in ((), (0,), (1, 2), (0, 2))
    ]
    for first, second in product(ways, ways):
        wanted = second.turn(first.turn(volume))
        np.testing.assert_array_equal(first.then(second).turn(volume), wanted)


def test_the_numbers_of_a_case_are_turned_with_its_image() -> None:
    image = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    case = Case("made", image, (3.0, 2.0, 1.0), {}, False, None, (), numbers=image * -10.0)
    turned = Orientation((2, 0, 1), (1,)).turn_case(case)
    assert turned.numbers is not None and turned.numbers.flags.c_contiguous
    np.testing.assert_array_equal(turned.numbers, turned.image * -10.0)
