"""All ways to store a volume are different ways, and are counted right."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="the measurements of training import it")

from benchmarks.orders import Way, all_ways, run_ways, stored, table_rows  # noqa: E402
from tests.inference.fake_models import made_image, make_case, make_model, make_prompt  # noqa: E402
from vesal.inference.data.orientation import STORED, Orientation  # noqa: E402
from vesal.training.measure.runs import Labelled  # noqa: E402


def labelled() -> Labelled:
    """A case of a liver, with its truth."""
    image = made_image((32, 32, 32), ((slice(4, 10), slice(6, 14), slice(5, 20)), 200))
    prompts = (make_prompt(1, "liver"),)
    return Labelled("set", make_case(image, list(prompts)), (image == 200).astype(np.uint8), prompts)


def test_there_are_48_and_no_two_are_the_same() -> None:
    ways, volume = all_ways(), np.arange(27).reshape(3, 3, 3)
    assert ways[0] == STORED
    assert len({way.back(volume).tobytes() for way in ways}) == len(ways) == 48
    for way in ways:
        np.testing.assert_array_equal(way.turn(way.back(volume)), volume)


def test_a_case_is_stored_so_that_turning_it_gives_it_back() -> None:
    case, way = labelled().case, Orientation((2, 0, 1), (1,))
    turned = way.turn_case(stored(case, way))
    np.testing.assert_array_equal(turned.image, case.image)
    assert turned.spacing_dhw_mm == case.spacing_dhw_mm


def test_a_network_that_sees_brightness_alone_finds_it_in_all_ways() -> None:
    ways = list(run_ways(make_model(), labelled(), every=12))
    assert len(ways) == 4 and all(way.dice["liver"] == ways[0].dice["liver"] > 0 for way in ways)


def test_a_row_counts_ways_near_to_the_stored_one() -> None:
    some = zip(all_ways()[:3], (0.9, 0.86, 0.4), strict=True)
    ways = [Way(way, way.order == (0, 1, 2), {"liver": score}) for way, score in some]
    (row,) = table_rows(labelled(), ways)
    assert row[1:4] == ("liver", 3, 3)
    assert row[4:] == (0.9, pytest.approx(0.72), 0.4, 2)
