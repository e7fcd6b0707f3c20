"""The loop over the cases, with an engine that finds bright cubes: outputs, codes, and what goes wrong."""

import json
import logging
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.fakes import CUBE, SHAPE, Opener, read_output, write_case
from vesal.inference.data.errors import ProfileError
from vesal.inference.io.label_writer import write_label_map
from vesal.inference.output import logs
from vesal.inference.runner.run import run as run_with_clock
from vesal.inference.runner.settings import Settings


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """A folder for cases, made, and one for outputs, not made."""
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    return inputs, tmp_path / "outputs"


def run(settings: Settings, opener: Opener) -> int:
    """The loop on a clock that stands still: no case here is ended by it."""
    return run_with_clock(settings, opener, now=lambda: 0.0)


def report_of(outputs: Path) -> dict[str, Any]:
    """The report where it lies by default."""
    return json.loads((outputs.parent / "report.json").read_text())


def expected(label: int = 1) -> np.ndarray:
    """The label map of a made case."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[CUBE] = label
    return labels


def test_a_case_becomes_a_label_map(folders: tuple[Path, Path]) -> None:
    """The cube carries the prompt's id, the code is 0, and only the label map lies in the outputs."""
    inputs, outputs = folders
    write_case(inputs / "one.npz", prompts={"7": "Liver in abdominal CT", "instance_label": 0})
    assert run(Settings(inputs, outputs), Opener()) == 0
    np.testing.assert_array_equal(read_output(outputs / "one.npz"), expected(7))
    assert [path.name for path in outputs.iterdir()] == ["one.npz"]


def test_several_cases_open_the_engine_once(folders: tuple[Path, Path]) -> None:
    """Three cases in order of name, each with its own budget; hidden and temporary files are none."""
    inputs, outputs = folders
    for name in ("b", "a", "c"):
        write_case(inputs / f"{name}.npz")
    write_case(
        inputs / "two prompts.npz", prompts={"1": "liver in CT", "2": "spleen in CT", "instance_label": 0}
    )
    for name in (".hidden.npz", "~open.npz", "notes.txt"):
        (inputs / name).write_bytes(b"no case")
    (inputs / "folder.npz").mkdir()
    opener = Opener()
    assert run(Settings(inputs, outputs), opener) == 0
    assert opener.count == 1
    assert opener.model.budgets == [57.0, 57.0, 57.0, 117.0]
    assert [case["name"] for case in report_of(outputs)["cases"]] == ["a", "b", "c", "two prompts"]
    assert len(list(outputs.iterdir())) == 4


def test_seconds_replace_the_budget(folders: tuple[Path, Path]) -> None:
    """`--seconds` holds for each case."""
    inputs, outputs = folders
    write_case(inputs / "a.npz")
    opener = Opener()
    run(Settings(inputs, outputs, seconds=9.5), opener)
    assert opener.model.budgets == [9.5]


def test_a_single_file_goes_into_a_folder_or_a_file(folders: tuple[Path, Path]) -> None:
    """Both forms, the folder made on the way."""
    inputs, outputs = folders
    case = write_case(inputs / "a.npz")
    assert run(Settings(case, outputs), Opener()) == 0
    assert run(Settings(case, outputs / "deep" / "named.npz"), Opener()) == 0
    for path in (outputs / "a.npz", outputs / "deep" / "named.npz"):
        np.testing.assert_array_equal(read_output(path), expected())


def test_broken_cases_among_good_ones(folders: tuple[Path, Path]) -> None:
    """Whatever is wrong with a case, it has an output and the others are not affected; the code is 1."""
    inputs, outputs = folders
    write_case(inputs / "a good.npz")
    (inputs / "b text.npz").write_text("this is no archive")
    (inputs / "c gone.npz").symlink_to(inputs / "nowhere")
    write_case(inputs / "d no prompts.npz", prompts={"instance_label": 0})
    write_case(inputs / "e good.npz")
    opener = Opener()
    assert run(Settings(inputs, outputs), opener) == 1
    assert opener.count == 1
    for name in ("a good", "e good"):
        np.testing.assert_array_equal(read_output(outputs / f"{name}.npz"), expected())
    for name in ("b text", "c gone"):
        np.testing.assert_array_equal(read_output(outputs / f"{name}.npz"), np.zeros((1, 1, 1)))
    np.testing.assert_array_equal(read_output(outputs / "d no prompts.npz"), np.zeros(SHAPE))
    cases = report_of(outputs)["cases"]
    assert [case["state"] for case in cases] == ["ok", "fell back", "fell back", "fell back", "ok"]
    assert cases[1]["error"].startswith("NotAnArchiveError: ")
    assert cases[3]["written"] == "zeros"


@pytest.mark.parametrize(
    ("level", "written", "left", "error"),
    [
        (201, "a coarse result", 1, "RuntimeError: the fine stage broke"),
        (202, "zeros", 0, "MemoryError: no room for 10 GB"),
        (204, "a coarse result", 1, "LabelMapError: The engine gave labels of shape (5, 7, 8)"),
    ],
)
def test_an_engine_that_fails(
    folders: tuple[Path, Path],
    level: int,
    written: str,
    left: int,
    error: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The best result so far stays; the report names the error, the log shows where it came from."""
    inputs, outputs = folders
    write_case(inputs / "a.npz", level)
    with caplog.at_level(logging.INFO, "vesal"):
        assert run(Settings(inputs, outputs), Opener()) == 1
    np.testing.assert_array_equal(read_output(outputs / "a.npz"), expected(left))
    case = report_of(outputs)["cases"][0]
    assert (case["state"], case["written"]) == ("fell back", written)
    assert case["error"].startswith(error)
    assert (case["prompts"][0]["target"], case["prompts"][0]["voxels"]) == ("liver", None)
    assert "Traceback" in caplog.text
    assert "fakes.py" in caplog.text or level == 204


def test_a_fallback_of_the_engine_counts(folders: tuple[Path, Path]) -> None:
    """A case that came out, but with less than was planned, is code 1 and says why."""
    inputs, outputs = folders
    write_case(inputs / "a.npz", 203)
    assert run(Settings(inputs, outputs), Opener()) == 1
    np.testing.assert_array_equal(read_output(outputs / "a.npz"), expected())
    case = report_of(outputs)["cases"][0]
    assert case["fallbacks"] == ["coarse only: 0.1 s were left"]
    assert case["ladder"] == [{"step": "overlap 0", "why": "0.1 s were left", "at_s": 0.5}]


def test_an_unknown_target_is_no_fallback(
    folders: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    """Weights that do not know a target do what they promise: code 0, and a warning."""
    inputs, outputs = folders
    write_case(inputs / "a.npz", 206)
    assert run(Settings(inputs, outputs), Opener()) == 0
    assert "prompt 1 is empty: the weights do not know it" in caplog.text


def test_an_engine_that_does_not_open(folders: tuple[Path, Path]) -> None:
    """It is tried once; every case has zeros of its shape."""
    inputs, outputs = folders
    for name in ("a", "b"):
        write_case(inputs / f"{name}.npz")
    opener = Opener(ProfileError("coarse.onnx has another sha256"))
    assert run(Settings(inputs, outputs), opener) == 1
    assert opener.count == 1
    for name in ("a", "b"):
        np.testing.assert_array_equal(read_output(outputs / f"{name}.npz"), np.zeros(SHAPE))
    report = report_of(outputs)
    assert all("another sha256" in case["error"] for case in report["cases"])
    assert report["runtime"] == {"name": None, "reason": "the weights were never opened"}


def test_sigterm_leaves_valid_outputs(folders: tuple[Path, Path]) -> None:
    """In the second of three cases: a result, a coarse result, zeros; code 143, and the handler is gone."""
    inputs, outputs = folders
    for name, level in (("a", 200), ("b", 205), ("c", 200)):
        write_case(inputs / f"{name}.npz", level)
    before = signal.getsignal(signal.SIGTERM)
    opener = Opener()
    assert run(Settings(inputs, outputs), opener) == 143
    assert signal.getsignal(signal.SIGTERM) == before
    for name, left in (("a", 1), ("b", 1), ("c", 0)):
        np.testing.assert_array_equal(read_output(outputs / f"{name}.npz"), expected(left))
    report = report_of(outputs)
    assert (report["ended"], report["exit_code"]) == ("SIGTERM", 143)
    assert [case["state"] for case in report["cases"]] == ["ok", "fell back", "not run"]
    assert [case["written"] for case in report["cases"]] == ["the labels", "a coarse result", "zeros"]
    opener.model.released.set()


def test_the_keyboard_stops_without_touching_other_cases(folders: tuple[Path, Path]) -> None:
    """A person who stops a run keeps what earlier runs made of the cases that did not come up.

    What is no label map of the case's shape is none of theirs: it has become zeros.
    """
    inputs, outputs = folders
    write_case(inputs / "a.npz", 207)
    for name in "bcd":
        write_case(inputs / f"{name}.npz")
    outputs.mkdir()
    earlier = expected(9)
    write_label_map(outputs / "b.npz", earlier)
    write_label_map(outputs / "c.npz", earlier[1:])
    (outputs / "d.npz").write_bytes(b"cut by another program")
    assert run(Settings(inputs, outputs), Opener()) == 130
    np.testing.assert_array_equal(read_output(outputs / "a.npz"), expected())
    np.testing.assert_array_equal(read_output(outputs / "b.npz"), earlier)
    for name in "cd":
        np.testing.assert_array_equal(read_output(outputs / f"{name}.npz"), 0 * earlier)


def test_the_dataset_tells_the_modality_of_its_bare_names(folders: tuple[Path, Path]) -> None:
    """The volume alone would pass for MR."""
    inputs, outputs = folders
    write_case(inputs / "patient.npz")
    prompts = inputs / "challenge.json"
    prompts.write_text('{"CT_AMOS": {"1": ["Liver", "Liver in CT"], "instance_label": 0}}')
    assert run(Settings(inputs, outputs, prompts=prompts, dataset="CT_AMOS"), Opener()) == 0
    case = report_of(outputs)["cases"][0]
    assert (case["modality"], case["modality_source"]) == ("CT", "dataset")
    assert case["prompts"][0]["text"] == "Liver"


def test_report_says_what_was_decided_and_why(folders: tuple[Path, Path]) -> None:
    """Every part a reader needs; 12 voxels of 10 cubic millimetres are 0.12 ml."""
    inputs, outputs = folders
    write_case(inputs / "a.npz")
    run(Settings(inputs, outputs, threads=1), Opener())
    report = report_of(outputs)
    assert report["weights"] == "cubes"
    assert report["runtime"] == {"name": "fake", "reason": "it needs none", "precision": "fp32", "threads": 1}
    assert (report["settings"]["threads"], report["settings"]["inputs"]) == (1, str(inputs))
    assert report["processor"]["threads"] >= 1
    assert report["exit_code"] == 0
    case = report["cases"][0]
    assert (case["shape"], case["spacing_dhw_mm"]) == (list(SHAPE), [5.0, 2.0, 1.0])
    assert (case["modality"], case["modality_source"], case["budget_s"]) == ("CT", "prompts", 57.0)
    assert set(case["seconds_of"]) == {"zeros", "read", "prompts", "open", "segment", "write"}
    assert case["stages"] == [
        {
            "name": "coarse",
            "stage": "coarse",
            "targets": [],
            "spacing_dhw_mm": [5.0, 2.0, 1.0],
            "grid": list(SHAPE),
            "windows": 1,
            "skipped": 0,
            "seconds": 0.25,
            "peak_mb": 64.0,
            "why": "the whole volume fits",
        }
    ]
    prompt = case["prompts"][0]
    assert (prompt["target"], prompt["covered"], prompt["stages"]) == ("liver", True, ["coarse"])
    assert (prompt["voxels"], prompt["volume_ml"], prompt["mean_probability"]) == (12, 0.12, 1.0)


def test_each_stage_is_one_line_with_seconds_and_mb(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """The line of the fake's only stage, as it reaches standard error; no bar without a terminal."""
    inputs, outputs = folders
    write_case(inputs / "a.npz")
    logs.set_up()
    run(Settings(inputs, outputs), Opener())
    shown = capsys.readouterr().err
    stages = [line for line in shown.splitlines() if "coarse" in line]
    assert len(stages) == 1
    assert "6x7x8 at 5.00 x 2.00 x 1.00 mm, 1 windows (0 skipped), 0.25 s, 64 MB" in stages[0]
    assert "\r" not in shown


def test_same_case_twice_gives_the_same_bytes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Nothing of the time of writing is in the output."""
    inputs, outputs = folders
    write_case(inputs / "a.npz")
    run(Settings(inputs, outputs), Opener())
    run(Settings(inputs, tmp_path / "again"), Opener())
    assert (outputs / "a.npz").read_bytes() == (tmp_path / "again" / "a.npz").read_bytes()
