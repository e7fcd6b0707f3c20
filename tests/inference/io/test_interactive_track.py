"""Files of the challenge's interactive track: classes without a name, in every shape in which they come."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vesal.inference.data.case import Case
from vesal.inference.data.errors import MissingKeyError, NoPromptsError, TooManyPromptsError
from vesal.inference.data.user_prompts import Point, VoxelBox
from vesal.inference.io.formats import open_case
from vesal.inference.io.npz import NpzReader
from vesal.inference.io.user_prompts import FoundUserPrompts

SHAPE = (6, 7, 8)
FIRST = {
    "z_min": 1,
    "z_max": 2,
    "z_mid": 1,
    "z_mid_x_min": 3,
    "z_mid_y_min": 2,
    "z_mid_x_max": 5,
    "z_mid_y_max": 4,
}
BOX = VoxelBox((1, 2, 3), (3, 5, 6))
CLICK = {"fg": [[1, 2, 3], [1, 2, 3]], "bg": [[5, 6, 7]]}
CLICKED = (Point((1, 2, 3), True), Point((1, 2, 3), True), Point((5, 6, 7), False))


def write(folder: Path, **arrays: Any) -> Path:
    path = folder / "CT_some.npz"
    np.savez(path, imgs=np.zeros(SHAPE, np.uint8), spacing=np.ones(3), **arrays)
    return path


def read(path: Path) -> tuple[Case, FoundUserPrompts, int | None]:
    """The case, what was marked in it, and the number of prompts as it is counted before."""
    with NpzReader(path) as reader:
        count = reader.count_prompts()
        case = reader.read()
        return case, reader.read_user_prompts(case.sentences, SHAPE, case.instance), count


def labels(*values: int) -> np.ndarray:
    found = np.zeros(SHAPE, np.uint8)
    found.flat[: len(values)] = values
    return found


def test_boxes_clicks_and_the_last_result_are_classes_without_a_name(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        boxes=[FIRST, FIRST],
        clicks=[CLICK, {"fg": [], "bg": []}],
        clicks_order=np.array([["fg", "fg", "bg"], None], object),
        prev_pred=labels(1, 2),
    )
    case, found, count = read(path)
    assert case.sentences == {1: "", 2: ""} and count == 2
    assert case.interactive and not case.instance
    assert found.user.boxes == {1: (BOX,), 2: (BOX,)}
    assert found.user.points == {1: CLICKED}
    assert found.user.mask is not None and found.user.mask.ids == (1, 2)
    assert found.fallbacks == ()
    (told,) = [note for note in case.notes if "without a sentence" in note]
    assert told == (
        "classes without a sentence: 1, 2 (CT_some.npz, 'boxes'; CT_some.npz, 'clicks'; "
        "CT_some.npz, 'prev_pred')"
    )


@pytest.mark.parametrize(
    ("arrays", "ids"),
    [
        ({"boxes": [FIRST, None, FIRST]}, [1, 2, 3]),
        ({"boxes": [FIRST], "clicks": [CLICK, CLICK, None]}, [1, 2, 3]),
        ({"clicks": [None, CLICK]}, [1, 2]),
        ({"clicks": [{"fg": [[0, 0, 0]]}, {"bg": [[0, 0, 0]]}, {}]}, [1, 2, 3]),
        ({"clicks": np.array({"fg": [[0, 0, 0]]}, object)}, [1]),
        ({"boxes": np.array(FIRST, object)}, [1]),
        ({"boxes": {"1": FIRST, 4: FIRST}}, [1, 4]),
        ({"prev_pred": labels(3, 5)}, [3, 5]),
        ({"boxes": [FIRST], "prev_pred": labels(2)}, [1, 2]),
        ({"boxes": np.array([[0, 0, 0, 1, 1, 1], [1, 1, 1, 2, 2, 2]])}, [1, 2]),
        ({"clicks": np.array([[0, 0, 0], [1, 1, 1]])}, [1]),
        ({"boxes": [FIRST], "text_prompts": {}}, [1]),
        ({"boxes": [FIRST], "text_prompts": {"instance_label": 0}}, [1]),
        ({"boxes": [FIRST], "text_prompts": {"1": "", "instance_label": 0}}, [1]),
        ({"boxes": [FIRST], "text_prompts": ""}, [1]),
        ({"boxes": [FIRST], "text_prompts": np.array(None, object)}, [1]),
    ],
)
def test_the_number_of_classes_is_that_of_what_is_marked(
    tmp_path: Path, arrays: dict[str, Any], ids: list[int]
) -> None:
    case, found, count = read(write(tmp_path, **arrays))
    assert list(case.sentences) == ids and count == len(ids)
    assert case.interactive and found.fallbacks == ()


@pytest.mark.parametrize(
    ("clicks", "points"),
    [
        ([{"fg": [[1.0, 2.0, 3.0]]}], {1: ((1, 2, 3),)}),
        ([{"fg": [np.array([1, 2, 3], np.int32)]}], {1: ((1, 2, 3),)}),
        ([{"fg": [tuple(map(np.int64, (1, 2, 3)))], "bg": None}], {1: ((1, 2, 3),)}),
        ([{"fg": np.array([[1, 2, 3], [0, 0, 0]])}], {1: ((1, 2, 3), (0, 0, 0))}),
        ([{"fg": [1, 2, 3], "bg": []}], {1: ((1, 2, 3),)}),
        ([{"fg": [[1, 2, 3], None, []]}], {1: ((1, 2, 3),)}),
        ([{"fg": [[1.4, 2.0, 2.6]]}], {1: ((1, 2, 3),)}),
        ({"fg": [[[1, 2, 3]], []], "bg": [[], [[0, 0, 0]]]}, {1: ((1, 2, 3),), 2: ((0, 0, 0),)}),
        ([None, [[1, 2, 3], [0, 0, 0]]], {2: ((1, 2, 3), (0, 0, 0))}),
    ],
)
def test_clicks_in_other_shapes(tmp_path: Path, clicks: Any, points: dict[int, Any]) -> None:
    value = np.array(clicks, object) if isinstance(clicks, dict) else _objects(clicks)
    _, found, _ = read(write(tmp_path, clicks=value))
    assert {id_: tuple(p.voxel for p in mine) for id_, mine in found.user.points.items()} == points
    assert found.fallbacks == ()


def test_clicks_between_voxels_are_noted(tmp_path: Path) -> None:
    _, found, _ = read(write(tmp_path, clicks=[{"fg": [[1.4, 2, 3], [1, 2, 3]]}]))
    assert any("1 points between voxels are taken as the nearest voxel" in note for note in found.notes)


@pytest.mark.parametrize(
    ("clicks", "empty"),
    [
        ([{"fg": [[1, 2, 3]]}, {}], "prompt 2: empty entries are taken as no points: 1"),
        ([{"fg": [[1, 2, 3], [], None]}], "prompt 1: empty entries are taken as no points: 2"),
        ([{"fg": [[1, 2, 3]], "bg": []}, None, {"fg": [], "bg": []}, {"fg": None}], None),
    ],
)
def test_empty_clicks_are_noted_unless_they_say_plainly_that_there_are_none(
    tmp_path: Path, clicks: list[Any], empty: str | None
) -> None:
    _, found, _ = read(write(tmp_path, clicks=_objects(clicks)))
    told = [note for note in found.notes if "empty entries" in note]
    assert [empty in note for note in told] == ([True] if empty else [])
    assert found.fallbacks == () and list(found.user.points) == [1]


def test_an_empty_box_is_told_and_no_box_is_not(tmp_path: Path) -> None:
    case, found, _ = read(write(tmp_path, boxes=_objects([FIRST, {}, None, []])))
    assert list(case.sentences) == [1, 2, 3, 4] and found.user.boxes == {1: (BOX,)}
    (told,) = found.fallbacks
    assert told.startswith(
        "one of the user's boxes is not used: BoxError: CT_some.npz, 'boxes', prompt 2: {} is a box without"
    )


def _objects(values: list[Any]) -> np.ndarray:
    found = np.empty(len(values), object)
    found[:] = values
    return found


def test_a_broken_box_or_click_costs_nothing_else(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        boxes=[FIRST, FIRST | {"z_min": np.nan}, FIRST | {"z_max": 0}],
        clicks=[{"fg": [[9, 9, 9], [1, 2, 3]]}, CLICK, {"fg": "none"}],
    )
    case, found, _ = read(path)
    assert list(case.sentences) == [1, 2, 3]
    assert found.user.boxes == {1: (BOX,)}
    assert set(found.user.points) == {1, 2} and len(found.user.points[1]) == 1
    for said in (
        "'boxes', prompt 2: nan is no whole number, of 'z_min'",
        "'boxes', prompt 3: the box .* holds no voxel",
        "'clicks', prompt 1: the point .* lies outside of the volume",
        "'clicks', prompt 3: .*'fg': 'none'",
    ):
        with pytest.raises(AssertionError, match=f"one of the user's .* is not used: .*{said}"):
            raise AssertionError("\n".join(found.fallbacks))
    assert len(found.fallbacks) == 4


def test_a_last_result_of_another_shape_costs_nothing_else(tmp_path: Path) -> None:
    case, found, _ = read(write(tmp_path, boxes=[FIRST], prev_pred=np.zeros((1, 2, 3), np.uint8)))
    assert list(case.sentences) == [1] and found.user.kinds() == ("boxes",)
    assert "MaskShapeError" in found.fallbacks[0]


def test_sentences_win_and_the_file_is_then_none_of_the_track(tmp_path: Path) -> None:
    text = np.array({"1": "Liver in CT", "instance_label": 0}, object)
    case, found, _ = read(write(tmp_path, boxes={1: FIRST, 3: FIRST}, text_prompts=text))
    assert case.sentences == {1: "Liver in CT"} and not case.interactive
    assert found.user.boxes == {1: (BOX,)}
    assert found.fallbacks == (
        "one of the user's boxes is not used: BoxError: CT_some.npz, 'boxes': 3 is no prompt's id; the case "
        "has [1].",
    )


@pytest.mark.parametrize(("entries", "used", "refused"), [(1, [1], 0), (2, [1, 2], 0), (3, [1, 2], 1)])
def test_lists_that_are_shorter_or_longer_than_the_prompts_go_by_classes(
    tmp_path: Path, entries: int, used: list[int], refused: int
) -> None:
    text = np.array({"1": "Liver in CT", "2": "Spleen in CT"}, object)
    _, found, _ = read(write(tmp_path, boxes=_objects([FIRST] * entries), text_prompts=text))
    assert (list(found.user.boxes), len(found.fallbacks)) == (used, refused)


@pytest.mark.parametrize(("id_", "entries", "used"), [(1, 2, [1]), (2, 2, [2]), (1, 3, [1]), (5, 2, [5])])
def test_of_several_classes_a_single_prompt_has_its_own(
    tmp_path: Path, id_: int, entries: int, used: list[int]
) -> None:
    """There is one dict for each class; where they do not reach to the prompt all are its own."""
    text = np.array({str(id_): "Liver in CT", "instance_label": 0}, object)
    clicks = _objects([{"fg": [[0, 0, n]], "bg": []} for n in range(entries)])
    path = write(tmp_path, boxes=_objects([FIRST] * entries), clicks=clicks, text_prompts=text)
    _, found, _ = read(path)
    assert list(found.user.boxes) == used and list(found.user.points) == used
    if id_ == 5:
        assert len(found.user.boxes[5]) == len(found.user.points[5]) == 2 and not found.fallbacks
        return
    assert found.user.points[id_] == (Point((0, 0, id_ - 1), True),) and len(found.user.boxes[id_]) == 1
    others = [n for n in range(1, entries + 1) if n != id_]
    said = [
        f"{kind}': {n} is no prompt's id; the case has [{id_}]"
        for kind in ("boxes", "clicks")
        for n in others
    ]
    assert all(each in told for each, told in zip(said, found.fallbacks, strict=True))


@pytest.mark.parametrize("arrays", [{}, {"boxes": []}, {"prev_pred": labels(0)}, {"clicks": "none"}])
def test_where_nothing_is_marked_sentences_are_wanted(tmp_path: Path, arrays: dict[str, Any]) -> None:
    path = write(tmp_path, **arrays)
    with NpzReader(path) as reader:
        assert reader.count_prompts() is None
        with pytest.raises(MissingKeyError, match="text_prompts"):
            reader.read()


def test_too_many_classes_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, boxes=np.array([None] * 3000, object))
    with open_case(path) as reader, pytest.raises(TooManyPromptsError, match="3000 classes"):
        reader.read()


def test_text_prompts_without_a_sentence_may_ask_for_objects(tmp_path: Path) -> None:
    text = np.array({"instance_label": 1}, object)
    case, _, _ = read(write(tmp_path, boxes=[FIRST], text_prompts=text))
    assert case.instance
    assert any("there are no sentences" in note for note in case.notes)
    with open_case(write(tmp_path, text_prompts=text)) as reader, pytest.raises(NoPromptsError):
        reader.read()


class Evil:
    """What a pickle could run."""

    def __reduce__(self) -> Any:
        return print, ("run",)


def test_pickles_are_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    boxes = np.array([Evil(), FIRST], object)
    assert b"print" in pickle.dumps(boxes)
    case, found, _ = read(write(tmp_path, boxes=boxes, clicks=[CLICK]))
    assert list(case.sentences) == [1] and "UnsafePickleError" in found.fallbacks[0]
    assert capsys.readouterr().out == ""


def test_marks_of_the_user_stand_in_for_those_of_the_file_whose_classes_stay(tmp_path: Path) -> None:
    path = write(tmp_path, boxes=[FIRST, FIRST, FIRST])
    (tmp_path / "CT_some.prompt.json").write_text('{"2": {"box": [0, 0, 0, 1, 1, 1]}}')
    case, found, _ = read(path)
    assert list(case.sentences) == [1, 2, 3] and case.interactive
    assert found.user.boxes == {2: (VoxelBox((0, 0, 0), (1, 1, 1)),)}
