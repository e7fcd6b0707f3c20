"""Spoiled spatial prompts."""

import numpy as np
import pytest

from vesal.training import simulate
from vesal.training.simulate import BLOCK, spoil

RATES = ("DROP_CHANNEL", "DROP_BLOCKS", "ADD_BLOCKS", "HARDEN", "SHIFT")


def prompt() -> np.ndarray:
    """Two classes of 0.6 in a box away from the borders, on 20 x 24 x 18 voxels."""
    out = np.zeros((2, 20, 24, 18), np.float32)
    out[:, 5:13, 6:16, 5:12] = 0.6
    return out


def only(monkeypatch: pytest.MonkeyPatch, name: str | None) -> None:
    """Make one corruption certain and the others impossible."""
    for rate in RATES:
        monkeypatch.setattr(simulate, rate, 1.0 if rate == name else 0.0)


def test_the_same_seed_spoils_the_same_way() -> None:
    a, b, c = (spoil(prompt(), np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_the_input_is_left_alone_and_values_stay_probabilities() -> None:
    given = prompt()
    for seed in range(20):
        came = spoil(given, np.random.default_rng(seed))
        assert came.shape == given.shape and came.dtype == np.float32
        assert came.min() >= 0 and came.max() <= 1
    assert np.array_equal(given, prompt())


def test_nothing_happens_where_no_corruption_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, None)
    assert np.array_equal(spoil(prompt(), np.random.default_rng(0)), prompt())


def test_a_dropped_channel_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "DROP_CHANNEL")
    assert not spoil(prompt(), np.random.default_rng(0)).any()


def test_dropped_blocks_are_whole_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "DROP_BLOCKS")
    came = spoil(np.ones((1, 20, 24, 18), np.float32), np.random.default_rng(0))[0]
    assert 0 < came.mean() < 1
    for d, h, w in np.ndindex(3, 3, 3):
        block = came[tuple(slice(i * BLOCK, (i + 1) * BLOCK) for i in (d, h, w))]
        assert block.min() == block.max()


def test_added_blocks_are_likely_and_leave_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "ADD_BLOCKS")
    for seed in range(20):
        came = spoil(np.zeros((1, 32, 32, 32), np.float32), np.random.default_rng(seed))
        values = set(np.unique(came).tolist()) - {0.0}
        assert len(values) <= 1 and all(0.5 <= v <= 1 for v in values)
        assert came.astype(bool).mean() < 0.4


def test_hardened_values_are_0_or_1(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "HARDEN")
    assert set(np.unique(spoil(prompt(), np.random.default_rng(0)))) <= {0.0, 1.0}


def test_a_shift_moves_by_at_most_3_voxels_and_keeps_the_mass(monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "SHIFT")
    for seed in range(10):
        came = spoil(prompt(), np.random.default_rng(seed))
        for before, after in zip(prompt(), came, strict=True):
            moved = [np.argwhere(x).min(0) for x in (before, after)]
            assert np.abs(moved[1] - moved[0]).max() <= 3
            assert after.sum() == pytest.approx(before.sum())


def test_classes_are_spoiled_independently() -> None:
    dropped = [spoil(prompt(), np.random.default_rng(seed)).any((1, 2, 3)) for seed in range(60)]
    assert any(a != b for a, b in dropped)
