"""NAME.prompt.json: boxes and points by id or name, with and without sentences in the case."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vesal.inference.data.errors import PromptFileError
from vesal.inference.data.user_prompts import Point, VoxelBox
from vesal.inference.io.formats import open_case, side_files
from vesal.inference.io.marks import id_of
from vesal.inference.io.user_prompts import FoundUserPrompts

SHAPE = (6, 7, 8)
TEXT = np.array({"1": "Liver in abdominal CT", "5": "left kidney", "instance_label": 0}, object)
ROW, BOX = [1, 2, 3, 3, 5, 6], VoxelBox((1, 2, 3), (3, 5, 6))
INSIDE, OUTSIDE = Point((1, 2, 3), True), Point((1, 2, 3), False)


def read(folder: Path, content: Any, **arrays: Any) -> tuple[dict[int, str], FoundUserPrompts, bool]:
    path = folder / "some.npz"
    np.savez(path, imgs=np.zeros(SHAPE, np.uint8), **arrays)
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "some.prompt.json").write_text(text)
    with open_case(path) as reader:
        case = reader.read()
        return case.sentences, reader.read_user_prompts(case.sentences, SHAPE, False), case.interactive


@pytest.mark.parametrize(
    "content",
    [
        {"1": {"box": ROW}},
        {"1": {"boxes": [ROW]}},
        {"liver": {"box": ROW}},
        {"Liver in abdominal CT": {"bbox": ROW}},
        {"1": {"box": {"start": ROW[:3], "stop": ROW[3:]}}},
        {
            "1": {
                "z_min": 1,
                "z_max": 2,
                "z_mid": 1,
                "z_mid_y_min": 2,
                "z_mid_y_max": 4,
                "z_mid_x_min": 3,
                "z_mid_x_max": 5,
            }
        },
        {"boxes": {"1": [ROW]}},
        {"boxes": {"liver": ROW}},
        {"prompts": {"1": {"box": ROW}}},
        [{"id": 1, "box": ROW}],
        [{"name": "liver", "box": ROW}],
        {"label": {"id": 1, "box": ROW}},
    ],
)
def test_boxes_for_a_prompt_with_a_sentence(tmp_path: Path, content: Any) -> None:
    sentences, found, _ = read(tmp_path, content, text_prompts=TEXT)
    assert sentences == {1: "Liver in abdominal CT", 5: "left kidney"}
    assert found.user.boxes == {1: (BOX,)} and found.fallbacks == ()


@pytest.mark.parametrize(
    ("content", "points"),
    [
        ({"5": {"points": [[1, 2, 3, "+"], [1, 2, 3, "-"]]}}, (INSIDE, OUTSIDE)),
        ({"5": {"points": [1, 2, 3]}}, (INSIDE,)),
        ({"kidney": {"fg": [[1, 2, 3]], "bg": [[1, 2, 3]]}}, (INSIDE, OUTSIDE)),
        ({"5": {"clicks": {"fg": [[1, 2, 3]], "bg": []}}}, (INSIDE,)),
        ({"points": {"5": [[1, 2, 3, 0]]}}, (OUTSIDE,)),
        ({"clicks": [None, {"bg": [[1, 2, 3]]}]}, (OUTSIDE,)),
    ],
)
def test_points_for_a_prompt_with_a_sentence(tmp_path: Path, content: Any, points: tuple[Point, ...]) -> None:
    _, found, _ = read(tmp_path, content, text_prompts=TEXT)
    assert found.user.points == {5: points} and found.fallbacks == ()


@pytest.mark.parametrize(
    ("content", "sentences"),
    [
        ({"1": {"box": ROW}, "3": {"points": [[1, 2, 3]]}}, {1: "", 3: ""}),
        ({"1": {"box": ROW}, "2": None}, {1: "", 2: ""}),
        ({"boxes": [ROW, ROW]}, {1: "", 2: ""}),
        ({"points": [[1, 2, 3], [1, 2, 4]]}, {1: ""}),
        ({"fg": [[1, 2, 3]]}, {1: ""}),
        ([{"box": ROW}, {"points": [[1, 2, 3]]}], {1: "", 2: ""}),
        ({"liver": {"box": ROW}, "spleen": {"box": ROW}}, {1: "liver", 2: "spleen"}),
        ({"1": {"name": "liver", "box": ROW}, "2": {"box": ROW}}, {1: "liver", 2: ""}),
        ({"2": {"text": "liver", "box": ROW}, "spleen": {"box": ROW}}, {1: "spleen", 2: "liver"}),
        ([{"id": 4, "name": "left kidney", "box": ROW}], {4: "left kidney"}),
        ({"1": "liver", "instance_label": 1}, {1: "liver"}),
    ],
)
def test_it_also_stands_alone(tmp_path: Path, content: Any, sentences: dict[int, str]) -> None:
    found, user, interactive = read(tmp_path, content)
    assert found == sentences and user.fallbacks == () and not interactive
    marked = user.user.marked()
    assert marked <= set(sentences)


def test_objects_may_be_asked_for(tmp_path: Path) -> None:
    read(tmp_path, {"1": {"box": ROW}, "instance_label": 1})
    with open_case(tmp_path / "some.npz") as reader:
        assert reader.read().instance


def test_a_name_that_no_sentence_has_is_a_further_prompt(tmp_path: Path) -> None:
    sentences, found, _ = read(tmp_path, {"spleen": {"box": ROW}}, text_prompts=TEXT)
    assert sentences == {1: "Liver in abdominal CT", 2: "spleen", 5: "left kidney"}
    assert found.user.boxes == {2: (BOX,)}


def test_boxes_of_the_file_win_over_those_in_the_case(tmp_path: Path) -> None:
    inside = np.array({1: [0, 0, 0, 1, 1, 1]}, object)
    clicks = np.array({5: [1, 2, 3]}, object)
    _, found, _ = read(tmp_path, {"5": {"box": ROW}}, text_prompts=TEXT, boxes=inside, clicks=clicks)
    assert found.user.boxes == {5: (BOX,)} and found.user.points == {5: (INSIDE,)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"9": {"box": ROW}}, r"BoxError: some.prompt.json: 9 is no prompt's id; the case has \[1, 5\]"),
        ({"1": {"bx": ROW}}, "some.prompt.json, prompt 1: 'bx' is not known"),
        ({"1": ROW}, "prompt 1: .*; a dict such as"),
        ({"-3": {"box": ROW}}, "'-3' lies outside 1 to 65535"),
        (
            {"1": {"box": ROW[:5]}},
            r'is no box; wanted are whole numbers, \{"1": \{"box": \[d0, h0, w0, d1, h1, w1\]\}\}, the last',
        ),
        ({"1": {"box": {}}}, "prompt 1: {} is a box without z_min"),
        ({"1": {"box": [float("nan"), *ROW[1:]]}}, "nan is no whole number"),
        ({"1": {"points": [[1, 2, 3, "x"]]}}, "'x' is no label"),
    ],
)
def test_what_cannot_be_used_is_told_and_the_rest_is_taken(tmp_path: Path, content: Any, said: str) -> None:
    sentences, found, _ = read(tmp_path, content | {"5": {"box": ROW}}, text_prompts=TEXT)
    assert set(sentences) == {1, 5} and found.user.boxes == {5: (BOX,)}
    with pytest.raises(AssertionError, match=f"(is|are) not used: .*{said}"):
        raise AssertionError(*found.fallbacks)


@pytest.mark.parametrize("content", ["{", "5", '"text"', "[" * 100_000])
def test_a_broken_file_leaves_the_sentences(tmp_path: Path, content: str) -> None:
    sentences, found, _ = read(tmp_path, content, text_prompts=TEXT)
    assert set(sentences) == {1, 5} and "some.prompt.json" in found.fallbacks[0]


def test_a_broken_file_alone_is_the_error_of_the_case(tmp_path: Path) -> None:
    with pytest.raises(PromptFileError, match=r"some\.prompt\.json: broken JSON at line 1"):
        read(tmp_path, "{")


def test_it_belongs_to_the_case_and_is_no_case(tmp_path: Path) -> None:
    read(tmp_path, {"1": {"box": ROW}})
    assert [path.name for path in side_files(tmp_path / "some.npz")] == ["some.prompt.json"]


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("Liver", 1),
        ("liver in abdominal ct", 1),
        ("kidney", None),
        ("LEFT  kidney", 2),
        ("idney", None),
        ("", None),
    ],
)
def test_names_are_whole_words_of_one_sentence(name: str, id_: int | None) -> None:
    sentences = {1: "Liver in abdominal CT", 2: "left kidney", 3: "right kidney"}
    assert id_of(name, sentences) == id_
