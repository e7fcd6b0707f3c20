"""Presence per slice on the volume's own slices, of the passes that told it."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.inference.fake_models import made_image, make_engine, make_prompt, segment
from vesal.inference.data.orientation import STORED, Orientation
from vesal.inference.families.contract import Capabilities
from vesal.inference.geometry.views import View
from vesal.inference.stages.slice_presence import SlicePresence, add_presence, presence_along_d


def view(start: float, step: float, slices: int) -> View:
    return View((start, 0.0, 0.0), (step, 1.0, 1.0), (slices, 4, 4), 0, 0)


def test_a_later_pass_counts_where_it_ran() -> None:
    coarse = np.array([0.1, 0.2, 0.9, 0.4], np.float32)
    fine = np.array([0.7, 0.8, 1.0], np.float32)
    told = {3: [(coarse, view(0, 2, 4)), (fine, view(3.0, 1.0, 3))]}
    curve = presence_along_d(told, {3: (3,)}, 8, STORED)[3]
    np.testing.assert_allclose(curve, [0.1, 0.1, 0.2, 0.7, 0.8, 1.0, 0.4, 0.4])


def test_nothing_is_said_of_slices_outside() -> None:
    told = {3: [(np.ones(2, np.float32), view(2, 1, 2))]}
    curves = presence_along_d(told, {3: (3,), 4: (4,)}, 8, STORED)
    np.testing.assert_array_equal(np.isnan(curves[3]), [1, 1, 0, 0, 1, 1, 1, 1])
    assert [*curves] == [3]


def test_the_largest_of_a_prompts_targets_counts_and_a_turned_case_is_turned_back() -> None:
    one, other = np.linspace(0, 0.7, 8, dtype=np.float32), np.full(8, 0.3, np.float32)
    told, mine = {1: [(one, view(0, 1, 8))], 2: [(other, view(0, 1, 8))]}, {1: (1, 2)}
    want = np.maximum(one, other)
    np.testing.assert_array_equal(presence_along_d(told, mine, 8, STORED)[1], want)
    reversed_ = presence_along_d(told, mine, 8, Orientation((0, 1, 2), (0, 1)))
    np.testing.assert_array_equal(reversed_[1], want[::-1])
    assert presence_along_d(told, mine, 8, Orientation((1, 0, 2))) == {}


def test_the_engine_keeps_what_the_network_tells() -> None:
    """The made one: the largest probability of a slice."""
    box = (slice(8, 20), slice(6, 16), slice(4, 12))
    result = segment(make_engine(), made_image((32, 32, 32), (box, 200)), [make_prompt(1, "liver")])
    curve = result.presence_along_d()[1]
    assert curve.shape == (32,) and curve[12:16].min() > 0.5 > curve[28:].max()


def test_of_a_family_that_tells_none_nothing_is_kept() -> None:
    told: dict[int, list[SlicePresence]] = {}
    result: Any = SimpleNamespace(view=view(0, 1, 8), presence=np.ones((1, 8), np.float32))
    query: Any = SimpleNamespace(class_id=1)
    add_presence(told, result, [query], Capabilities())
    assert told == {}
    add_presence(told, result, [query], Capabilities(presence=True))
    assert [*told] == [1]
