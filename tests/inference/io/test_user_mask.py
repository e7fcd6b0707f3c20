"""A user's mask: where it is found, what it may hold, and what is refused."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from tests.inference.io.test_nifti import nifti
from vesal.inference.data.case import UserMask
from vesal.inference.data.errors import (
    CaseError,
    MaskIdError,
    MaskShapeError,
    MaskTypeError,
    MissingKeyError,
    NiftiError,
    NotAnArchiveError,
)
from vesal.inference.io.formats import is_mask_file, open_case
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


def case(folder: Path, **arrays) -> Path:
    """A case with a volume and other arrays."""
    path = folder / "some.npz"
    np.savez(path, imgs=np.zeros(SHAPE, np.uint8), **arrays)
    return path


def read(path: Path, ids=IDS, instance: bool = False) -> UserMask | None:
    with open_case(path) as reader:
        return reader.read_mask(ids, SHAPE, instance)


def test_no_mask_is_none(tmp_path):
    assert read(case(tmp_path)) is None


def test_it_is_found_in_the_case(tmp_path):
    found = read(case(tmp_path, prev_pred=MASK))
    assert np.array_equal(found.labels, MASK)
    assert (found.ids, found.source) == ((1, 7), "some.npz, 'prev_pred'")


@pytest.mark.parametrize("key", ["mask", "prev_pred", "segs", "anything"])
def test_it_is_found_beside_the_case_and_wins(tmp_path, key):
    path = case(tmp_path, prev_pred=np.zeros(SHAPE, np.uint8))
    np.savez_compressed(tmp_path / "some.prompt.npz", **{key: MASK})
    found = read(path)
    assert found.ids == (1, 7) and found.source == "some.prompt.npz"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_it_is_found_beside_the_case_as_nifti(tmp_path, suffix):
    content = nifti(MASK)
    (tmp_path / f"some.prompt{suffix}").write_bytes(
        gzip.compress(content) if suffix == ".nii.gz" else content
    )
    assert np.array_equal(read(case(tmp_path)).labels, MASK)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64, np.float16, np.float64])
def test_whole_numbers_of_every_type_will_do(tmp_path, dtype):
    assert np.array_equal(read(case(tmp_path, prev_pred=MASK.astype(dtype))).labels, MASK)


def test_an_empty_mask_is_none(tmp_path):
    assert read(case(tmp_path, prev_pred=np.zeros(SHAPE, np.uint8))) is None


@pytest.mark.parametrize("mask", [mask_of(id1=(0, 0, 0)), mask_of(id1=(0, 0, 0)) > 0])
def test_with_one_prompt_ones_are_its_own(tmp_path, mask):
    assert read(case(tmp_path, prev_pred=mask), ids=(5,)).ids == (5,)


def test_with_one_prompt_of_objects_all_values_are_its_own(tmp_path):
    found = read(case(tmp_path, prev_pred=MASK), ids=(5,), instance=True)
    assert np.array_equal(found.labels, (MASK > 0) * 5)


def test_the_largest_id_fits(tmp_path):
    assert read(case(tmp_path, prev_pred=MASK.astype(np.uint16) * 9362), ids=(9362, 65534)).ids == (
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
def test_what_cannot_be_used_is_named(tmp_path, mask, error, said):
    with pytest.raises(error, match=said) as raised:
        read(case(tmp_path, prev_pred=mask))
    assert isinstance(raised.value, CaseError)


def test_several_values_of_one_semantic_prompt_are_refused(tmp_path):
    with pytest.raises(MaskIdError):
        read(case(tmp_path, prev_pred=MASK), ids=(5,))


def test_damaged_files_beside_the_case_are_named(tmp_path):
    path = case(tmp_path, prev_pred=MASK)
    nii = tmp_path / "some.prompt.nii"
    nii.write_bytes(nifti(MASK[:2]))
    with pytest.raises(NiftiError, match=r"\(2, 4, 5\)"):
        read(path)
    (tmp_path / "some.prompt.npz").write_bytes(b"no zip")
    with pytest.raises(NotAnArchiveError, match="some.prompt.npz"):
        read(path)
    np.savez(tmp_path / "some.prompt.npz", one=MASK, two=MASK)
    with pytest.raises(MissingKeyError, match="'one', 'two'"):
        read(path)


def test_a_mask_is_no_case_where_its_case_is(tmp_path):
    case(tmp_path)
    assert is_mask_file(tmp_path / "some.prompt.npz")
    assert not is_mask_file(tmp_path / "other.prompt.npz")
    assert not is_mask_file(tmp_path / "some.npz")


def test_the_box_holds_the_wanted_prompts():
    mask = MaskPrompt(MASK.astype(np.uint16), (1, 7), "here")
    assert mask.box([1]).start == (0, 1, 2) and mask.box([1]).stop == (1, 2, 3)
    assert mask.box([1, 7]).stop == (3, 4, 5)
    assert mask.box([9]) is None
