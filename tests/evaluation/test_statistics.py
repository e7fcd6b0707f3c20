"""Summaries and tests whose answers are known."""

from math import isnan, nan

import pytest

from vesal.evaluation.statistics import signed_rank, summarize


def test_a_summary_leaves_nan_out():
    summary = summarize([0.0, nan, 1.0, 0.5])
    assert (summary.count, summary.mean, summary.median) == (3, 0.5, 0.5)
    assert 0.0 <= summary.low < 0.5 < summary.high <= 1.0


def test_the_interval_is_the_same_every_time_and_shrinks_with_more_cases():
    few, many = summarize([0.0, 1.0] * 4), summarize([0.0, 1.0] * 400)
    assert few == summarize([0.0, 1.0] * 4)
    assert many.high - many.low < (few.high - few.low) / 5
    assert many.high - many.low == pytest.approx(2 * 1.96 * 0.5 / 800**0.5, rel=0.1), "as the normal one"


def test_one_value_has_no_interval_and_none_has_no_mean():
    assert summarize([0.7]).mean == 0.7 and isnan(summarize([0.7]).low)
    assert summarize([nan]).count == 0 and isnan(summarize([]).mean)


def test_signed_rank_of_five_gains():
    assert signed_rank([0.0] * 5, [0.1, 0.2, 0.3, 0.4, 0.5]) == pytest.approx(2 / 2**5), (
        "exact: all of one sign"
    )
    assert signed_rank([0.5, nan], [0.5, 1.0]) == 1.0
    assert isnan(signed_rank([], []))
