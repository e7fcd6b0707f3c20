"""What weights can use of a case's user prompts, from a list of kinds to the whole command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.fake_models import Bright, make_model
from tests.inference.fakes import run_command
from vesal.inference.data.terms import OFF
from vesal.inference.data.user_prompts import Point, UserMask, UserPrompts, VoxelBox
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings
from vesal.inference.stages.user_prompts import told_unused, usable

SHAPE = (24, 32, 32)
USER = UserPrompts(
    UserMask(np.ones((2, 2, 2), np.uint16), (1,), "here"),
    {1: (VoxelBox((0, 0, 0), (1, 1, 1)),)},
    {1: (Point((0, 0, 0), True),)},
)


def test_kinds_that_cannot_be_used_are_left_out_and_told():
    assert usable(USER, ("mask", "points")) == USER.without(("boxes",))
    fallbacks, notes = told_unused(USER, ("mask", "points"), "made")
    assert fallbacks == ()
    assert notes == ("the user's boxes are not used: the weights made take none",)


def test_a_mask_that_cannot_be_used_is_a_fallback() -> None:
    """It stands in the case by the user's own will; boxes and points are in all files of a challenge."""
    assert usable(USER, ()) == UserPrompts()
    fallbacks, notes = told_unused(USER, (), "made")
    assert fallbacks == ("the user's mask is not used: the weights made take none",)
    assert notes == (
        "the user's boxes are not used: the weights made take none",
        "the user's points are not used: the weights made take none",
    )


def test_with_nothing_there_is_nothing_to_tell():
    for user, can in ((UserPrompts(), ()), (USER, ("mask", "boxes", "points"))):
        assert usable(user, can) == user
        assert told_unused(user, can, "made") == ((), ())


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        ((), ["the user's mask is not used: the weights made take none"]),
        ((1, 2), []),
        ((2,), ["the user's mask is not used for the prompts 1: the weights made take none"]),
    ],
)
def test_of_a_mask_that_is_kept_it_is_not_said_that_it_is_not_used(
    kept: tuple[int, ...], said: list[str]
) -> None:
    """Once, by the prompt whose result it is."""
    user = UserPrompts(UserMask(np.ones((2, 2, 2), np.uint16), (1, 2), "here"))
    for interactive in (False, True):
        told = [*told_unused(user, ("boxes",), "made", interactive, kept)]
        assert [list(each) for each in told] == ([[], said] if interactive else [said, []])


def run_with(folder: Path, hybrid: str | None = None, **arrays: Any) -> tuple[bytes, int, dict[str, Any]]:
    """One case through the command's loop with a fake network: the output, the exit code, the report."""
    folder.mkdir()
    image = np.full(SHAPE, 20, np.uint8)
    image[8:16, 10:20, 4:14] = 200
    prompts = np.array({"1": "Liver in abdominal CT", "instance_label": 0})
    np.savez(folder / "a.npz", imgs=image, spacing=np.ones(3), text_prompts=prompts, **arrays)
    settings = Settings(folder / "a.npz", folder / "out", hybrid=hybrid)
    model = make_model(Bright())
    model.engine.mask_stage = OFF  # weights without spatial prompts
    code = run(settings, lambda settings: model, now=lambda: 0.0)
    report = json.loads((folder / "report.json").read_text())["cases"][0]
    return (folder / "out" / "a.npz").read_bytes(), code, report


GIVEN: dict[str, Any] = {
    "boxes": np.array([[8, 10, 4, 16, 20, 99]]),
    "clicks": [{"fg": [[9, 11, 5]], "bg": []}],
}


def test_the_command_tells_what_is_not_used_and_labels_as_without(tmp_path):
    plain, with_them = run_with(tmp_path / "plain"), run_with(tmp_path / "given", **GIVEN)
    assert with_them[0] == plain[0] and (plain[1], with_them[1]) == (0, 0)
    report = with_them[2]
    assert report["fallbacks"] == []
    assert [note for note in report["notes"] if "not used" in note] == [
        "the user's boxes are not used: the weights fakes take none",
        "the user's points are not used: the weights fakes take none",
    ]
    assert [note for note in report["notes"] if "given" in note or "clipped" in note] == [
        "boxes are given for the prompts 1 (a.npz, 'boxes')",
        "a.npz, 'boxes', prompt 1: the box from (8, 10, 4) to (16, 20, 99) is clipped to the volume, "
        "(24, 32, 32)",
        "points are given for the prompts 1 (a.npz, 'clicks')",
    ]


def test_broken_ones_do_not_lose_the_case(tmp_path):
    output, code, report = run_with(tmp_path / "bad", boxes=np.zeros((1, 5)), clicks=[{"fg": [[99, 0, 0]]}])
    assert output == run_with(tmp_path / "plain")[0] and code == 1 and report["written"] == "the labels"
    assert [line.split(": ")[:2] for line in report["fallbacks"]] == [
        ["the user's boxes are not used", "BoxError"],
        ["the user's points are not used", "PointError"],
    ]


def test_off_reads_none_of_them(tmp_path):
    _, code, report = run_with(tmp_path / "off", hybrid="off", prev_pred=np.zeros(3), **GIVEN)
    assert code == 0 and not report["fallbacks"]
    assert not any("given" in note for note in report["notes"])


@pytest.mark.slow
def test_the_shipped_weights_use_them(tmp_path):
    """The whole command with nano: nothing is left out, and the same file gives the same bytes."""
    run_with(tmp_path / "given", **GIVEN)
    outputs = []
    for name in ("once", "again"):
        code = run_command(tmp_path / "given" / "a.npz", tmp_path / name, "-q")
        report = json.loads((tmp_path / "report.json").read_text())["cases"][0]
        outputs.append((tmp_path / name / "a.npz").read_bytes())
        assert code == 0 and report["fallbacks"] == []
        assert not [note for note in report["notes"] if "not used" in note]
    assert outputs[0] == outputs[1]
