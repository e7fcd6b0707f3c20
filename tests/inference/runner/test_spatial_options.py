"""`--box` and `--point`: what is read, what is refused before anything is written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.fakes import CUBE, SHAPE, Opener, run_command, write_case
from vesal.inference.data.errors import UsageError
from vesal.inference.data.marks import NO_MARKS, Mark, Marks
from vesal.inference.data.user_prompts import KINDS
from vesal.inference.runner.arguments import make_parser, read_settings
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings
from vesal.inference.runner.spatial_options import BOXES, POINTS, SOURCE, marks_of


def test_without_them_there_are_no_marks() -> None:
    assert read_settings([], {}).marks == NO_MARKS


@pytest.mark.parametrize(
    "text", ["7=1,2,3,4,5,6", " 7 = 1, 2,3 ,4,5,6 ", "7=(1,2,3,4,5,6)", "7=1.0,2,3,4,5,6"]
)
def test_a_box(text: str) -> None:
    given = read_settings([f"--box={text}"], {}).marks
    assert given == Marks(SOURCE, {7: Mark("", ((1, 2, 3, 4, 5, 6),))})


@pytest.mark.parametrize(
    ("text", "sign"), [("7=1,2,3,+", "+"), ("7=1,2,3,-", "-"), ("7=1,2,3", "+"), ("7 = 1 , 2 , 3 , - ", "-")]
)
def test_a_point(text: str, sign: str) -> None:
    assert read_settings(["--point", text], {}).marks.by_key == {7: Mark("", (), ((1, 2, 3, sign),))}


def test_they_may_be_repeated() -> None:
    marks = marks_of(["1=0,0,0,1,1,1", "2=0,0,0,1,1,1", "1=1,1,1,2,2,2"], ["2=0,0,0,+"])
    assert len(marks.by_key[1].boxes) == 2 and len(marks.by_key[2].points) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--box", "1,2,3,4,5,6"], "names no prompt; give --box ID=z0,y0,x0,z1,y1,x1"),
        (["--box", "1=1,2,3,4,5"], "has 5 numbers behind the id"),
        (["--box", "0=1,2,3,4,5,6"], "has the id '0', no whole number from 1 to 65535"),
        (["--box", "liver=1,2,3,4,5,6"], "has the id 'liver'"),
        (["--box", "1=1,2,3,4,5,x"], "holds 'x', which is no number"),
        (["--point", "1=1,2,+"], "has 2 numbers behind the id; give --point ID=z,y,x,+"),
        (["--point", "1=1,2,3,*"], "has 4 numbers"),
        (["--hybrid", "off", "--point", "1=1,2,3"], "reads no boxes and points, but some are given"),
        (["--point", "1="], "has 1 numbers"),
    ],
)
def test_what_cannot_be_read_is_wrong_usage(options: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_settings(options, {})


def test_the_help_says_that_the_stop_is_exclusive() -> None:
    text = " ".join(make_parser().format_help().split())
    assert "z1,y1,x1 exclusive" in text and "--point ID=z,y,x,+" in text


def test_wrong_usage_writes_nothing(tmp_path: Path) -> None:
    write_case(tmp_path / "a.npz")
    assert run_command(tmp_path, tmp_path / "out", "--box", "1=1,2") == 2
    assert not (tmp_path / "out").exists()


def report_of(tmp_path: Path, boxes: list[str], points: list[str], **arrays: Any) -> dict[str, Any]:
    """The report of one case, run by an engine that finds the bright cube."""
    source = tmp_path / "in"
    source.mkdir()
    if arrays:
        image = np.zeros(SHAPE, np.uint8)
        image[CUBE] = 200
        np.savez(source / "CT_a.npz", imgs=image, spacing=np.ones(3), **arrays)
    else:
        write_case(source / "CT_a.npz")
    report = tmp_path / "report.json"
    opener = Opener()
    settings = Settings(source, tmp_path / "out", report=report, marks=marks_of(boxes, points))
    run(settings, opener)
    return json.loads(report.read_text())["cases"][0]


def test_they_reach_the_case_and_its_report(tmp_path: Path) -> None:
    told = report_of(tmp_path, ["1=0,0,0,2,2,2"], ["1=0,0,0,-"])
    assert "boxes are given for the prompts 1 (--box)" in told["notes"]
    assert "points are given for the prompts 1 (--point)" in told["notes"]
    assert told["state"] == "ok" and told["budget_s"] == 57.0


@pytest.mark.parametrize(
    ("box", "said"),
    [
        (
            "1=nan,0,0,2,2,2",
            "--box, prompt 1: nan is no whole number, of (nan, 0, 0, 2, 2, 2); wanted are the numbers of "
            "--box ID=z0,y0,x0,z1,y1,x1, whole, the last three exclusive.",
        ),
        ("1=2,2,2,0,0,0", "the box (2, 2, 2, 0, 0, 0) holds no voxel"),
        ("1=1,1,1,1,2,2", "holds no voxel"),
        ("1=90,0,0,95,2,2", "lies outside of the volume"),
        ("9=0,0,0,2,2,2", "--box: 9 is no prompt's id"),
    ],
)
def test_a_wrong_box_is_named_in_the_option_s_form_and_the_case_runs(
    tmp_path: Path, box: str, said: str
) -> None:
    told = report_of(tmp_path, [box], [])
    assert any(said in fallback for fallback in told["fallbacks"]), told["fallbacks"]
    assert not any("z_mid" in fallback or "dict" in fallback for fallback in told["fallbacks"])
    assert told["prompts"][0]["voxels"] == 12 and told["error"] is None


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ("1=nan,0,0", "nan is no whole number, of (nan, 0, 0); wanted are the numbers of --point ID=z,y,x,+"),
        ("1=0,0,90,-", "--point, prompt 1: the point (0, 0, 90) lies outside of the volume"),
        ("9=0,0,0,+", "--point: 9 is no prompt's id"),
    ],
)
def test_a_wrong_point_is_named_in_the_option_s_form_and_the_case_runs(
    tmp_path: Path, point: str, said: str
) -> None:
    told = report_of(tmp_path, [], [point])
    assert any(said in fallback for fallback in told["fallbacks"]), told["fallbacks"]
    assert not any(" fg " in fallback or "dict" in fallback for fallback in told["fallbacks"])
    assert told["prompts"][0]["voxels"] == 12 and told["error"] is None


def test_kinds_are_those_of_the_case() -> None:
    assert KINDS[1:] == (BOXES, POINTS)


def test_without_sentences_their_ids_are_the_classes(tmp_path: Path) -> None:
    told = report_of(tmp_path, ["1=0,0,0,2,2,2"], ["4=0,0,0,+"], unrelated=np.zeros(1))
    assert [prompt["id"] for prompt in told["prompts"]] == [1, 4]
    assert told["budget_s"] == 117.0 and told["error"] is None


def test_a_class_of_the_interactive_track_has_90_seconds(tmp_path: Path) -> None:
    clicks = np.array([{"fg": [[0, 0, 0]], "bg": []}, None], object)
    told = report_of(tmp_path, [], [], clicks=clicks)
    assert [prompt["text"] for prompt in told["prompts"]] == ["", ""]
    assert told["budget_s"] == 177.0 and told["state"] == "ok"
