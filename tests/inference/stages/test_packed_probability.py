"""Packed probabilities give back what was put in, however they were cut."""

import numpy as np
import pytest

from vesal.inference.stages import packed_probability as packed_module
from vesal.inference.stages.packed_probability import PackedProbability, join_classes

SHAPE = (3, 20, 9, 11)


def probabilities(seed: int, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """(N, D, H, W) float32 in 0..1, mostly nothing."""
    rng = np.random.default_rng(seed)
    return (rng.random(shape, np.float32) * (rng.random(shape) < 0.2)).astype(np.float32)


def cut(values: np.ndarray, seed: int) -> PackedProbability:
    """Packed in random slabs."""
    packed = PackedProbability(len(values), (values.shape[2], values.shape[3]))
    first = 0
    rng = np.random.default_rng(seed)
    while first < values.shape[1]:
        last = min(values.shape[1], first + int(rng.integers(1, 8)))
        packed.append(values[:, first:last])
        first = last
    return packed


@pytest.mark.parametrize("seed", range(5))
def test_any_slabs_give_back_any_box(seed: int) -> None:
    """Without loss."""
    expected = probabilities(seed)
    packed = cut(expected, seed)
    assert packed.shape == SHAPE and len(packed) == 3
    np.testing.assert_array_equal(np.asarray(packed), expected)
    np.testing.assert_array_equal(np.stack(list(packed)), expected)
    np.testing.assert_array_equal(packed[1], expected[1])
    np.testing.assert_array_equal(packed[[2, 0]], expected[[2, 0]])
    np.testing.assert_array_equal(np.asarray(PackedProbability.of(packed)), expected)
    rng = np.random.default_rng(seed)
    for _ in range(20):
        start = [int(rng.integers(0, n)) for n in SHAPE[1:]]
        stop = [int(rng.integers(a, n + 1)) for a, n in zip(start, SHAPE[1:], strict=True)]
        box = (slice(None), *(slice(a, b) for a, b in zip(start, stop, strict=True)))
        np.testing.assert_array_equal(packed[box], expected[box])


def test_what_is_nothing_takes_no_room() -> None:
    values = np.zeros((4, 50, 60, 70), np.float32)
    values[0, 20:25, 20:30, 20:30] = 0.8
    assert PackedProbability.of(values).nbytes < values.nbytes / 100


def test_noise_takes_no_more_room_than_it_has() -> None:
    values = np.random.default_rng(0).random((2, 30, 40, 50), np.float32)
    assert PackedProbability.of(values).nbytes <= values.nbytes


def test_classes_of_the_next_stage_are_joined_and_packed_where_they_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = [probabilities(n) for n in range(3)]
    dense = join_classes(parts)
    assert isinstance(dense, np.ndarray)
    np.testing.assert_array_equal(dense, np.concatenate(parts))
    monkeypatch.setattr(packed_module, "DENSE_BYTES", 1000)
    for mixed in (parts, [parts[0], cut(parts[1], 1), cut(parts[2], 2)]):
        packed = join_classes(mixed)
        assert isinstance(packed, PackedProbability)
        np.testing.assert_array_equal(np.asarray(packed), dense)
    packed = cut(parts[0], 1)
    assert join_classes([packed]) is packed


def test_classes_of_other_slabs_do_not_fit() -> None:
    with pytest.raises(ValueError, match="slabs"):
        cut(probabilities(0), 0).extend(PackedProbability.of(probabilities(1)))


def test_classes_can_be_replaced_in_a_copy() -> None:
    values = probabilities(0)
    packed = cut(values, 0)
    other = packed.copy()
    other[[2, 0]] = values[[0, 1]]
    np.testing.assert_array_equal(np.asarray(other), values[[1, 1, 0]])
    np.testing.assert_array_equal(np.asarray(packed), values)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_planes_along_any_axis(axis: int) -> None:
    """Appended, read by box, emptied and copied."""
    expected = probabilities(1)
    packed = PackedProbability(3, tuple(n for a, n in enumerate(SHAPE[1:]) if a != axis), axis)
    for part in np.array_split(expected, 4, 1 + axis):
        packed.append(part)
    assert packed.shape == SHAPE and packed.axis == axis
    np.testing.assert_array_equal(np.asarray(packed), expected)
    np.testing.assert_array_equal(packed[1], expected[1])
    box = (slice(None), slice(2, 9), slice(1, 5), slice(3, 8))
    np.testing.assert_array_equal(packed[box], expected[box])
    emptied, keep = packed.copy(), np.arange(SHAPE[1 + axis]) % 3 > 0
    emptied.empty_planes(2, keep)
    wanted = expected.copy()
    np.moveaxis(wanted[2], axis, 0)[~keep] = 0
    np.testing.assert_array_equal(np.asarray(emptied), wanted)
    np.testing.assert_array_equal(np.asarray(packed), expected)
    emptied[[0]] = expected[[1]]
    np.testing.assert_array_equal(emptied[0], expected[1])
