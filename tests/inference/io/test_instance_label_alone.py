"""Files that say whether objects are wanted, and nothing else: what they change, and what is told."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.io.written import write_nifti
from vesal.inference.data.case import Case
from vesal.inference.data.errors import NoPromptsError
from vesal.inference.io.formats import open_case

SHAPE = (6, 7, 8)
OBJECTS = {"instance_label": 1}
TEXT = {"1": "Liver in CT", "instance_label": 0}
BOX = {"boxes": np.array([[1, 2, 3, 3, 5, 6]])}


def read(folder: Path, files: dict[str, Any], text: Any = None, **arrays: Any) -> Case:
    """A case beside files of JSON, by the end of their names; ``text`` are its own prompts."""
    if text is not None:
        arrays["text_prompts"] = np.array(text, object)
    np.savez(folder / "some.npz", imgs=np.zeros(SHAPE, np.uint8), **arrays)
    for end, content in files.items():
        (folder / f"some{end}").write_text(json.dumps(content))
    with open_case(folder / "some.npz") as reader:
        return reader.read()


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({".prompt.json": OBJECTS}, None),
        ({".json": OBJECTS}, None),
        ({}, OBJECTS),
        ({".json": OBJECTS}, {"instance_label": 0}),
        ({".json": {"instance-label": "yes", "modality": "MR"}}, None),
        ({}, {"instance_label": 1, "modality": "MR"}),
    ],
)
def test_it_counts_for_what_is_marked(tmp_path: Path, files: dict[str, Any], text: Any) -> None:
    case = read(tmp_path, files, text, **BOX)
    assert case.sentences == {1: ""} and case.instance
    assert case.modality == ("MR" if "modality" in str((files, text)) else None)


def test_that_of_marks_does_not_change_what_sentences_say(tmp_path: Path) -> None:
    case = read(tmp_path, {".prompt.json": OBJECTS}, TEXT)
    assert case.sentences == {1: "Liver in CT"} and not case.instance
    assert "some.prompt.json: instance_label 1 is not used: that of the prompts counts, 0" in case.notes
    same = read(tmp_path, {".prompt.json": {"instance_label": 0}}, TEXT)
    assert not any("not used" in note for note in same.notes)


def test_beside_prompts_of_the_case_it_is_no_file_of_prompts(tmp_path: Path) -> None:
    case = read(tmp_path, {".json": OBJECTS}, TEXT)
    assert case.sentences == {1: "Liver in CT"} and not case.instance
    assert any("some.json beside the case is not used, as it holds no prompts" in note for note in case.notes)


@pytest.mark.parametrize(
    ("files", "text", "said"),
    [
        (
            {".prompt.json": OBJECTS},
            None,
            "some.prompt.json: instance_label 1 is all that is in it, and the case has no sentences",
        ),
        ({".prompt.json": {}}, None, "some.prompt.json: nothing is in it, and the case has no sentences"),
        ({".prompt.json": {"-3": {}}}, None, "some.prompt.json: prompt id '-3' lies outside 1 to 65535"),
        ({".json": OBJECTS}, None, "some.json: there is no prompt among the keys 'instance_label'"),
        ({}, OBJECTS, "some.npz, 'text_prompts': there is no prompt among the keys 'instance_label'"),
    ],
)
def test_alone_it_is_no_prompt(tmp_path: Path, files: dict[str, Any], text: Any, said: str) -> None:
    with pytest.raises(NoPromptsError, match=said):
        read(tmp_path, files, text)


@pytest.mark.parametrize("end", [".json", ".prompt.json"])
def test_it_counts_beside_files_of_other_formats(tmp_path: Path, end: str) -> None:
    path = write_nifti(tmp_path / "some.nii", np.zeros(SHAPE, np.int16))
    (tmp_path / "some.json").write_text(json.dumps(OBJECTS if end == ".json" else {}))
    marks = {"1": {"box": [1, 2, 3, 3, 5, 6]}} | (OBJECTS if end == ".prompt.json" else {})
    (tmp_path / "some.prompt.json").write_text(json.dumps(marks))
    with open_case(path) as reader:
        case = reader.read()
        assert case.sentences == {1: ""} and case.instance
