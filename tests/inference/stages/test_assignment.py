"""Which target each of several marks of one case is: told jointly."""

import itertools

import numpy as np
import pytest

from vesal.inference.stages.assignment import assigned, best_columns


@pytest.mark.parametrize("seed", range(20))
def test_the_sum_of_the_columns_is_the_highest_there_is(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 5))
    gain = np.round(rng.random((n, n + int(rng.integers(0, 3)))), 1)  # with ties
    found = best_columns(gain)
    rows = np.arange(n)
    best = max(gain[rows, list(each)].sum() for each in itertools.permutations(range(gain.shape[1]), n))
    assert len(set(found)) == n and gain[rows, found].sum() == pytest.approx(best)


@pytest.mark.parametrize(
    ("scores", "capacity", "wanted"),
    [
        ([[0.9, 0.8], [0.95, 0.1]], [1, 1], [1, 0]),  # the first gives way: it has another one
        ([[0.9, 0.8], [0.9, 0.3]], [1, 1], [1, 0]),
        ([[0.9, 0.3], [0.9, 0.2]], [1, 1], [0, 0]),  # neither has one that is close: the same for both
        ([[0.9, 0.8], [0.95, 0.1]], [2, 1], [0, 0]),  # one on each side
        ([[0.9, 0.8], [0.95, 0.1]], [None, 1], [0, 0]),  # lesions
        ([[0.9, 0.8], [0.95, 0.1]], [1, None], [1, 0]),
        ([[0.0, 0.0]], [1, 1], [0]),
    ],
)
def test_two_marks_are_not_one_target_where_they_need_not_be(
    scores: list[list[float]], capacity: list[int | None], wanted: list[int]
) -> None:
    assert assigned(np.array(scores), capacity) == wanted


def test_without_marks_there_is_nothing_to_tell() -> None:
    assert assigned(np.zeros((0, 3)), [1, 1, 1]) == []
