"""The image's self-check accepts a good run and stops at each kind of bad one."""

import json
from pathlib import Path

import numpy as np
import pytest

from vesal.demo.self_check import SHAPE, check_output, check_report, write_case
from vesal.inference.io.formats import read_case

GOOD = {
    "weights": "nano",
    "runtime": {"name": "made"},
    "seconds": 1.0,
    "peak_mb": 100.0,
    "cases": [
        {
            "state": "ok",
            "error": None,
            "fallbacks": [],
            "prompts": [{"covered": True}],
            "stages": [{"windows": 1}, {"windows": 2}],
        }
    ],
}


def test_its_case_is_a_valid_one(tmp_path: Path) -> None:
    write_case(tmp_path / "self_check.npz")
    case = read_case(tmp_path / "self_check.npz")
    assert case.image.shape == SHAPE
    assert case.spacing_dhw_mm == (2.0, 1.5, 1.5)
    assert list(case.sentences) == [1]


@pytest.mark.parametrize(
    ("labels", "word"),
    [
        (np.zeros((1, 2, 3), np.uint8), "shape"),
        (np.zeros(SHAPE, np.uint16), "uint16"),
        (np.full(SHAPE, 2, np.uint8), "ids"),
    ],
)
def test_wrong_output_is_refused(tmp_path: Path, labels: np.ndarray, word: str) -> None:
    np.savez(tmp_path / "case.npz", segs=labels)
    with pytest.raises(AssertionError, match=word):
        check_output(tmp_path / "case.npz")


def test_an_empty_label_map_is_valid(tmp_path: Path) -> None:
    np.savez(tmp_path / "case.npz", segs=np.zeros(SHAPE, np.uint8))
    check_output(tmp_path / "case.npz")


def test_report_counts_windows(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps(GOOD))
    assert check_report(tmp_path / "report.json") == "made, 3 windows, 1.00 s, 100 MB"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"state": "fell back", "error": "no time"}, "no time"),
        ({"prompts": [{"covered": False}]}, "do not know"),
        ({"stages": []}, "no window"),
    ],
)
def test_a_run_without_the_network_is_refused(tmp_path: Path, change: dict[str, object], word: str) -> None:
    bad = GOOD | {"cases": [GOOD["cases"][0] | change]}
    (tmp_path / "report.json").write_text(json.dumps(bad))
    with pytest.raises(AssertionError, match=word):
        check_report(tmp_path / "report.json")
