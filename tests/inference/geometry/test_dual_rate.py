"""Dual-rate sampling: which slices are run together, and what becomes of their logits."""

import msgspec
import numpy as np
import pytest

from vesal.inference.geometry.dual_rate import DualRate, merged, parts, sampled, sequences

AS_PUBLISHED = msgspec.convert({"dense": 1, "sparse": 2, "depth": 7}, DualRate)


def test_the_two_sequences_of_a_part_as_published() -> None:
    """Seven is no multiple of two: the last slice belongs to the sparse sequence."""
    assert sampled(range(7), 1).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert sampled(range(7), 2).tolist() == [0, 2, 4, 6]
    assert sampled(range(3, 10), 2).tolist() == [3, 5, 7, 9]
    assert sampled(range(8), 3).tolist() == [0, 3, 6]


@pytest.mark.parametrize(
    ("slices", "starts"),
    [(1, [0]), (6, [0]), (7, [0]), (8, [0, 1]), (11, [0, 4]), (12, [0, 4, 5]), (15, [0, 4, 8])],
)
def test_parts_overlap_and_the_last_one_ends_with_the_volume(slices: int, starts: list[int]) -> None:
    found = parts(slices, 7, 4)
    assert [part.start for part in found] == starts
    assert all(len(part) == min(7, slices) for part in found)
    assert found[-1].stop == slices


def test_weights_by_hand() -> None:
    """Eight slices in parts of four, two apart: 0 to 3, 2 to 5, 4 to 7."""
    found = sequences(8, DualRate(depth=4, stride=2))
    assert [each.slices.tolist() for each in found[:4]] == [[0, 1, 2, 3], [0, 2], [2, 3, 4, 5], [2, 4]]
    # Slice 0 is in one part and both sequences, 1 in the dense one alone, 2 in two parts and both sequences.
    assert [each.weights.tolist() for each in found[:2]] == [[0.5, 1, 0.25, 0.5], [0.5, 0.25]]


@pytest.mark.parametrize("slices", [1, 2, 6, 7, 8, 23, 40])
@pytest.mark.parametrize("sparse", [0, 2, 3])
def test_the_weights_of_every_slice_sum_to_one(slices: int, sparse: int) -> None:
    total = np.zeros(slices)
    for each in sequences(slices, DualRate(sparse=sparse)):
        total[each.slices] += each.weights
    np.testing.assert_allclose(total, 1)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_network_that_sees_one_slice_gives_its_own_logits(axis: int) -> None:
    volume = np.random.default_rng(0).normal(size=(23, 23, 2)).astype(np.float32)
    found = merged(lambda slices: volume.take(slices, axis), 23, AS_PUBLISHED, axis)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, volume, rtol=1e-6)


def test_dense_and_sparse_logits_are_averaged_where_both_are() -> None:
    """A network whose logit is the length of its sequence: 7 of the dense, 4 of the sparse one."""
    found = merged(lambda slices: np.full(len(slices), len(slices), np.float32), 7, AS_PUBLISHED)
    assert found.tolist() == [5.5, 7, 5.5, 7, 5.5, 7, 5.5]


def test_parts_are_averaged() -> None:
    """A network whose logit is the first slice of its sequence; without the sparse one."""
    setting = DualRate(sparse=0)
    found = merged(lambda slices: np.full(len(slices), slices[0], np.float32), 11, setting)
    assert found.tolist() == [0] * 4 + [2] * 3 + [4] * 4


@pytest.mark.parametrize("slices", [5, 7, 12, 23])
def test_some_slices_are_those_of_the_whole_volume_to_the_bit(slices: int) -> None:
    """So a volume may be run in pieces of any length, if a piece sees ``depth`` - 1 slices on each side."""

    def run(numbers: np.ndarray) -> np.ndarray:
        """Logits that depend on the whole sequence."""
        seen.append(numbers)
        return np.sin(numbers + numbers.sum())[:, None].astype(np.float32)

    seen: list[np.ndarray] = []
    whole, runs = merged(run, slices, AS_PUBLISHED), len(seen)
    for first in range(0, slices, 4):
        piece = range(first, min(slices, first + 4))
        seen.clear()
        assert np.array_equal(merged(run, slices, AS_PUBLISHED, wanted=piece), whole[first : first + 4])
        assert min(n.min() for n in seen) >= first - 6 and max(n.max() for n in seen) <= piece[-1] + 6
        assert len(seen) <= min(runs, 6)


def test_a_single_slice_is_a_run_of_its_own() -> None:
    runs = [each.slices.tolist() for each in sequences(1, AS_PUBLISHED)]
    assert runs == [[0], [0]]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dense": 2, "sparse": 4}, "dense"),
        ({"sparse": 1}, "`sparse` is 1"),
        ({"depth": 3, "stride": 4}, "`stride` is 4"),
        ({"depth": 0}, "depth"),
        ({"deph": 7}, "deph"),
    ],
)
def test_settings_that_leave_slices_out_are_refused(given: dict, message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(given, DualRate)


@pytest.mark.parametrize(("depth", "step"), [(1, 1), (2, 2), (3, 2), (7, 4)])
def test_parts_of_any_depth_have_a_step(depth: int, step: int) -> None:
    assert DualRate(depth=depth).step == step
