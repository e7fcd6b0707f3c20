"""The table of further rules: means of sets, and of their means."""

import pytest

pytest.importorskip("torch", reason="the measurements of training import it")

from benchmarks.rules import TRIED, table, thick_axis, with_rules  # noqa: E402
from tests.inference.fake_models import make_model  # noqa: E402
from vesal.postprocess.components import Components  # noqa: E402
from vesal.postprocess.fill_holes import FillHoles  # noqa: E402


def test_sets_count_alike_whatever_their_size() -> None:
    scores = {
        "a": {"as shipped": [0.5, 0.7], "more": [0.6, 0.8]},
        "b": {"as shipped": [0.2], "more": [0.1]},
        "nothing covered": {"as shipped": [], "more": []},
    }
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table(scores).splitlines()]
    by_name = {row[0]: row[1:] for row in rows}
    assert [float(cell) for cell in by_name["a"]] == [2, 0.6, 0.7]
    assert [float(cell) for cell in by_name["mean of sets"]] == [3, 0.4, 0.4]
    assert "nothing covered" not in by_name


def test_rules_are_added_after_those_of_the_weights() -> None:
    model = make_model(postprocess=(Components(),))
    rules = TRIED["fill_holes in slices"](thick_axis((1.0, 1.0, 3.0)))
    assert with_rules(model, rules).profile.postprocess == (Components(), FillHoles(axis=2))
    assert model.profile.postprocess == (Components(),)


@pytest.mark.parametrize(
    ("spacing_dhw_mm", "axis"), [((5.0, 1.0, 1.0), 0), ((1.0, 2.0, 1.0), 1), ((1.0, 1.0, 1.0), 0)]
)
def test_the_thick_axis_has_the_longest_voxels(spacing_dhw_mm: tuple[float, ...], axis: int) -> None:
    assert thick_axis(spacing_dhw_mm) == axis
