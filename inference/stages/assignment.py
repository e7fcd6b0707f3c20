"""Marks to targets: which target each of several marks of one case is, told jointly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CLOSE = 0.8
"""A mark gives its best target up to another mark only for one whose score is at least this share of it: else
both are run as the same one, which may be what they mark."""
EXCLUDED = -1e3


def assigned(scores: np.ndarray, capacity: Sequence[int | None]) -> list[int]:
    """The target of each mark, so that the sum of their scores is highest and no target is taken too often.

    Args:
        scores: (n, m) float of n marks and m targets, one at least, 0..1.
        capacity: of each target how many marks it may be; None: any number.

    Returns:
        n numbers of targets. A mark that gets none that is ``CLOSE`` keeps its best.
    """
    n, m = scores.shape
    if not n:
        return []
    best = scores.max(1)
    close = np.where(scores >= CLOSE * best[:, None], scores, EXCLUDED)
    columns = [j for j in range(m) for _ in range(min(n, capacity[j] or 0))]
    own, value = scores.argmax(1), CLOSE * best
    for j in (j for j in range(m) if capacity[j] is None):
        better = close[:, j] >= value
        own[better], value[better] = j, close[better, j]
    alone = np.full((n, n), EXCLUDED)
    np.fill_diagonal(alone, value)
    picked = best_columns(np.concatenate([close[:, columns], alone], 1))
    return [columns[at] if at < len(columns) else int(own[row]) for row, at in enumerate(picked)]


def best_columns(gain: np.ndarray) -> list[int]:
    """For each row of (n, m) float, n <= m, a column of its own, so that the sum is highest: shortest
    augmenting paths (Kuhn and Munkres).
    """
    n, m = gain.shape
    rows, of_row, of_column = np.zeros(n + 1), np.zeros(m + 1), np.zeros(m + 1, int)
    for row in range(1, n + 1):
        of_column[0], at = row, 0
        least, before = np.full(m + 1, np.inf), np.zeros(m + 1, int)
        used = np.zeros(m + 1, bool)
        while of_column[at]:
            used[at] = True
            mine = of_column[at]
            cost = -gain[mine - 1] - rows[mine] - of_row[1:]
            better = ~used[1:] & (cost < least[1:])
            least[1:][better], before[1:][better] = cost[better], at
            free = np.where(used, np.inf, least)
            after = int(free[1:].argmin()) + 1
            step = free[after]
            rows[of_column[used]] += step
            of_row[used] -= step
            least[~used] -= step
            at = after
        while at:
            of_column[at] = of_column[before[at]]
            at = int(before[at])
    found = [0] * n
    for column in range(1, m + 1):
        if of_column[column]:
            found[of_column[column] - 1] = column - 1
    return found
