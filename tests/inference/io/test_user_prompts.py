"""Where a user's mask, boxes and points are found, which one counts, and what is broken."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.io.test_nifti import nifti
from vesal.inference.data.user_prompts import Point, UserPrompts, VoxelBox
from vesal.inference.io.formats import is_user_prompts_file, open_case
from vesal.inference.io.limits import MAX_PROMPT_BYTES
from vesal.inference.io.user_prompts import FoundUserPrompts

SHAPE = (3, 4, 5)
IDS = (1, 7)
MASK = np.zeros(SHAPE, np.uint8)
MASK[0, 1, 2], MASK[2, 3, 4] = 1, 7


def case(folder: Path, **arrays: Any) -> Path:
    """A case with a volume and other arrays."""
    path = folder / "some.npz"
    np.savez(path, imgs=np.zeros(SHAPE, np.uint8), **arrays)
    return path


def read(path: Path, ids: tuple[int, ...] = IDS) -> FoundUserPrompts:
    with open_case(path) as reader:
        return reader.read_user_prompts(ids, SHAPE, False)


def challenge_boxes() -> list[dict[str, Any]]:
    """Of two classes, as the challenge's script makes them: numbers of numpy."""
    low, high = np.array([0, 1, 2]), np.array([2, 3, 4])
    names = [("z_min", "z_mid_y_min", "z_mid_x_min"), ("z_max", "z_mid_y_max", "z_mid_x_max")]
    box = {name: at for pair in zip(names, (low, high), strict=True) for name, at in zip(*pair, strict=True)}
    return [box, {**box, "z_mid": np.int64(1)}]


CLICKS = [{"fg": [list(np.array([0, 1, 2]))], "bg": []}, {"fg": [], "bg": [list(np.array([2, 3, 4]))]}]


def test_nothing_is_nothing(tmp_path):
    assert read(case(tmp_path)) == FoundUserPrompts()


def test_they_are_found_in_the_case_as_the_challenge_stores_them(tmp_path):
    path = case(
        tmp_path, prev_pred=MASK, boxes=challenge_boxes(), clicks=CLICKS, clicks_order=[["fg"], ["bg"]]
    )
    found = read(path)
    box = VoxelBox((0, 1, 2), (3, 4, 5))
    assert np.array_equal(found.user.mask.labels, MASK)
    assert found.user.boxes == {1: (box,), 7: (box,)}
    assert found.user.points == {1: (Point((0, 1, 2), True),), 7: (Point((2, 3, 4), False),)}
    assert found.notes == (
        "a mask is given for the prompts 1, 7 (some.npz, 'prev_pred')",
        "boxes are given for the prompts 1, 7 (some.npz, 'boxes')",
        "points are given for the prompts 1, 7 (some.npz, 'clicks')",
    )
    assert found.fallbacks == ()


@pytest.mark.parametrize("key", ["mask", "prev_pred", "segs", "anything"])
def test_a_mask_beside_the_case_wins(tmp_path, key):
    path = case(tmp_path, prev_pred=np.zeros(SHAPE, np.uint8))
    np.savez_compressed(tmp_path / "some.prompt.npz", **{key: MASK})
    found = read(path).user.mask
    assert found.ids == (1, 7) and found.source == "some.prompt.npz"


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_mask_beside_the_case_may_be_nifti(tmp_path, suffix):
    content = nifti(MASK)
    (tmp_path / f"some.prompt{suffix}").write_bytes(
        gzip.compress(content) if suffix == ".nii.gz" else content
    )
    assert np.array_equal(read(case(tmp_path)).user.mask.labels, MASK)


def test_of_each_kind_the_first_one_found_counts(tmp_path):
    """Boxes are beside the case, so the mask is still looked for in NIfTI, and points in the case."""
    path = case(tmp_path, prev_pred=MASK[::-1], boxes=challenge_boxes(), clicks=CLICKS)
    np.savez(tmp_path / "some.prompt.npz", boxes=np.array({7: [[0, 0, 0, 1, 1, 1]]}, object))
    (tmp_path / "some.prompt.nii").write_bytes(nifti(MASK))
    user = read(path).user
    assert user.boxes == {7: (VoxelBox((0, 0, 0), (1, 1, 1)),)}
    assert user.mask.source == "some.prompt.nii" and set(user.points) == {1, 7}


def test_arrays_of_numbers_do_for_a_single_prompt(tmp_path):
    boxes, points = np.array([[0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 1]]), np.array([[0.0, 1.0, 2.0, 0.0]])
    user = read(case(tmp_path, boxes=boxes, points=points), ids=(5,)).user
    assert user.boxes == {5: (VoxelBox((0, 1, 2), (3, 4, 5)), VoxelBox((0, 0, 0), (1, 1, 1)))}
    assert user.points == {5: (Point((0, 1, 2), False),)}


def test_arrays_by_prompt_id(tmp_path):
    boxes = {7: np.array([[0, 1, 2, 3, 4, 5], [0, 0, 0, 1, 1, 1]])}
    assert len(read(case(tmp_path, boxes=np.array(boxes, object))).user.boxes[7]) == 2


def test_a_broken_kind_leaves_the_others(tmp_path):
    found = read(case(tmp_path, prev_pred=MASK[1:], boxes=challenge_boxes()[:1], clicks=CLICKS))
    assert found.user.kinds() == ("points",)
    mask, boxes = found.fallbacks
    assert mask.startswith(
        "the user's mask is not used: MaskShapeError: some.npz: 'prev_pred' has shape (2, "
    )
    assert boxes.startswith(
        "the user's boxes are not used: BoxError: some.npz, 'boxes': 1 entries; one for each"
    )


class Evil:
    """What a pickle could run."""

    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("boxes", "said"),
    [
        (np.array([Evil()], object), "UnsafePickleError: some.npz, 'boxes': the pickle asks for"),
        (np.array(["text"]), "BoxError: some.npz, 'boxes': an array of dtype <U4; wanted are whole numbers"),
        (np.array([{1j: 0}], object), "PromptError|UnsafePickleError"),
        (np.zeros((MAX_PROMPT_BYTES // 8 + 1, 1)), "ArrayHeaderError: .* at most 1048576 are read"),
        (np.array(["x" * MAX_PROMPT_BYTES], object), "ArrayHeaderError: .* at most 1048576 are read"),
        (np.full((1, 6), np.nan), "BoxError: .* nan is no whole number"),
    ],
)
def test_what_is_no_data_is_refused_and_not_run(tmp_path, capsys, boxes, said):
    found = read(case(tmp_path, boxes=boxes, clicks=CLICKS[:1]), ids=(5,))
    assert found.user.kinds() == ("points",) and len(found.fallbacks) == 1
    assert capsys.readouterr().out == ""
    with pytest.raises(AssertionError, match=said):
        raise AssertionError(found.fallbacks[0])


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (
            lambda beside: (beside / "some.prompt.nii").write_bytes(nifti(MASK[:2])),
            r"NiftiError: .*\(2, 4, 5\)",
        ),
        (
            lambda beside: (beside / "some.prompt.npz").write_bytes(b"no zip"),
            "NotAnArchiveError: some.prompt",
        ),
        (lambda beside: np.savez(beside / "some.prompt.npz", a=MASK, b=MASK), "MissingKeyError: .*'a', 'b'"),
    ],
)
def test_damaged_files_beside_the_case_are_named(tmp_path, write, said):
    """What lies in the case does not stand in for them."""
    path = case(tmp_path, prev_pred=MASK)
    write(tmp_path)
    found = read(path)
    assert found.user == UserPrompts()
    with pytest.raises(AssertionError, match=f"not used: {said}"):
        raise AssertionError(*found.fallbacks)


def test_a_clipped_box_is_noted(tmp_path):
    boxes = np.array([[0, 1, 2, 3, 4, 9]])
    assert "is clipped to the volume, (3, 4, 5)" in read(case(tmp_path, boxes=boxes), ids=(5,)).notes[1]


def test_the_file_beside_a_case_is_no_case(tmp_path):
    case(tmp_path)
    assert is_user_prompts_file(tmp_path / "some.prompt.npz")
    assert not is_user_prompts_file(tmp_path / "other.prompt.npz")
    assert not is_user_prompts_file(tmp_path / "some.npz")
