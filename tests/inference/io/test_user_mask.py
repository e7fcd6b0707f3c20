"""A user's mask: what it may hold, and what is refused."""

import time
from pathlib import Path

import numpy as np
import pytest

from vesal.inference.data.errors import MaskIdError, MaskShapeError, MaskTypeError, UserPromptError
from vesal.inference.data.user_prompts import UserMask
from vesal.inference.io.npz_archive import NpzArchive
from vesal.inference.io.user_mask import check_mask_header, make_mask, read_mask_array
from vesal.inference.stages.spatial_prompt import MaskPrompt

SHAPE = (3, 4, 5)
IDS = (1, 7)


def mask_of(**voxels: tuple[int, int, int]) -> np.ndarray:
    """(D,H,W) uint8: `id1=(0, 1, 2)` sets that voxel to 1."""
    mask = np.zeros(SHAPE, np.uint8)
    for name, at in voxels.items():
        mask[at] = int(name.removeprefix("id"))
    return mask


MASK = mask_of(id1=(0, 1, 2), id7=(2, 3, 4))


def checked(mask: np.ndarray, ids=IDS, instance: bool = False) -> UserMask | None:
    """A mask that was in an array, checked."""
    check_mask_header("here", mask.shape, mask.dtype, SHAPE)
    return make_mask(mask, ids, instance, "here")


def test_it_is_read_as_it_is_stored(tmp_path: Path):
    np.savez(tmp_path / "a.npz", some=MASK.astype(np.int16))
    with NpzArchive(tmp_path / "a.npz") as archive:
        found = read_mask_array(archive, "some", SHAPE)
        with pytest.raises(MaskShapeError, match=r"a\.npz: 'some' has shape \(3, 4, 5\)"):
            read_mask_array(archive, "some", (3, 4, 6))
    assert found.dtype == np.int16 and np.array_equal(found, MASK)


def test_ids_and_source_are_kept():
    found = checked(MASK)
    assert np.array_equal(found.labels, MASK) and (found.ids, found.source) == ((1, 7), "here")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64, np.float16, np.float64])
def test_whole_numbers_of_every_type_will_do(dtype):
    assert np.array_equal(checked(MASK.astype(dtype)).labels, MASK)


def test_an_empty_mask_is_none():
    assert checked(np.zeros(SHAPE, np.uint8)) is None


ONE = mask_of(id1=(0, 0, 0))


@pytest.mark.parametrize("mask", [ONE, ONE > 0, ONE * 255, ONE * np.float32(255), ONE * 7])
def test_with_one_prompt_a_mask_of_one_value_is_its_own(mask):
    found = checked(mask, ids=(5,))
    assert found.ids == (5,)
    np.testing.assert_array_equal(found.labels, ONE * 5)


def test_axes_of_one_voxel_and_a_mask_for_each_prompt(tmp_path: Path):
    large = np.zeros(SHAPE, bool)
    large[:, :2] = True
    small = np.zeros(SHAPE, np.uint8)
    small[0, :3] = 255
    np.savez(tmp_path / "a.npz", one=MASK[..., None], each=np.stack([small, large]))
    with NpzArchive(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(read_mask_array(archive, "one", SHAPE), MASK)
        found = read_mask_array(archive, "each", SHAPE, ids=(7, 1))
        with pytest.raises(MaskShapeError, match=r"\(2, 3, 4, 5\)"):
            read_mask_array(archive, "each", SHAPE, ids=(1, 7, 8))
    np.testing.assert_array_equal(found, np.where(small > 0, 1, np.where(large, 7, 0)))


def test_with_one_prompt_of_objects_all_values_are_its_own():
    found = checked(MASK, ids=(5,), instance=True)
    assert np.array_equal(found.labels, (MASK > 0) * 5)


def test_the_largest_id_fits():
    assert checked(MASK.astype(np.uint16) * 9362, ids=(9362, 65534)).ids == (
        9362,
        65534,
    )


@pytest.mark.parametrize(
    ("mask", "error", "said"),
    [
        (MASK[:2], MaskShapeError, r"\(2, 4, 5\).*\(3, 4, 5\)"),
        (MASK[None], MaskShapeError, r"\(1, 3, 4, 5\)"),
        (MASK.transpose(), MaskShapeError, r"\(5, 4, 3\)"),
        (MASK * 0.5, MaskTypeError, "0.5"),
        (np.where(MASK, np.nan, 0), MaskTypeError, "nan"),
        (np.where(MASK, np.inf, 0), MaskTypeError, "inf"),
        (MASK.astype(np.int32) * -1, MaskTypeError, "-1"),
        (MASK.astype(np.int32) * 65536, MaskTypeError, "65536"),
        (MASK.astype(np.complex64), MaskTypeError, "complex64"),
        (MASK.astype("S1"), MaskTypeError, r"\|S1"),
        (MASK.astype(object), MaskTypeError, "object"),
        (mask_of(id2=(0, 0, 0)), MaskIdError, r"\[2\].*\[1, 7\]"),
    ],
)
def test_what_cannot_be_used_is_named(mask, error, said):
    with pytest.raises(error, match=said) as raised:
        checked(mask)
    assert isinstance(raised.value, UserPromptError)


def test_several_values_of_one_semantic_prompt_are_refused():
    with pytest.raises(MaskIdError):
        checked(MASK, ids=(5,))


def test_the_box_holds_the_wanted_prompts():
    mask = MaskPrompt(MASK.astype(np.uint16), (1, 7), "here")
    assert mask.box([1]).start == (0, 1, 2) and mask.box([1]).stop == (1, 2, 3)
    assert mask.box([1, 7]).stop == (3, 4, 5)
    assert mask.box([9]) is None


def test_a_long_axis_takes_no_longer_than_another():
    """65,536 counts were added for each of 100,000 slices: a minute."""
    values = np.zeros((100_000, 3, 1), np.int64)
    values[500:900] = 2
    started = time.process_time()
    mask = make_mask(values, (1, 2), False, "a")
    assert mask.ids == (2,) and np.array_equal(mask.labels, values)
    assert time.process_time() - started < 2
