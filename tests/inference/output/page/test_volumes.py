"""Volumes that stand out."""

import pytest

from tests.inference.output.page.made import made_prompt, made_report
from vesal.inference.output.page.volumes import MAX_Z, robust_z, volumes_of


def test_robust_z_by_hand() -> None:
    """Logarithms 0 1 2 3 9 have the median 2 and the MAD 1."""
    z = robust_z([2.718281828**x for x in (0, 1, 2, 3, 9)])
    assert z == pytest.approx([-1.349, -0.6745, 0, 0.6745, 4.7215], abs=1e-3)


def test_few_or_equal_volumes_have_no_outliers() -> None:
    """Four are too few; beside equal ones a few percent are none, much more is one."""
    assert robust_z([1, 1, 1, 90]) == (0, 0, 0, 0)
    assert robust_z([5.0] * 6) == (0,) * 6
    assert abs(robust_z([5.0] * 9 + [5.5])[-1]) < MAX_Z < robust_z([5.0] * 9 + [90.0])[-1]


def test_volumes_go_by_target_and_empty_ones_are_told_apart() -> None:
    """An outlier is named with its case; what is not covered or not known is in neither."""
    ml = [100.0, 104.0, 96.0, 102.0, 98.0, 900.0, 0.0, None]
    cases = [made_report(str(i), prompts=(made_prompt(1, "x", "liver", v),)) for i, v in enumerate(ml)]
    (liver,) = volumes_of(cases)
    assert liver.name == "liver" and liver.cases == (0, 1, 2, 3, 4, 5) and liver.empty == (6,)
    assert liver.outliers == (False,) * 5 + (True,)
