"""The table of pre-training with few labels, and the patients that it is made of."""

import argparse
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from dataclasses import replace  # noqa: E402

from tests.training.made import made_volume  # noqa: E402
from vesal.training.few_labels import NOTHING, Row, command, rows_of, table  # noqa: E402
from vesal.training.store import of_patients  # noqa: E402


def test_rows_differ_in_the_encoder_and_in_nothing_else(tmp_path: Path) -> None:
    args = argparse.Namespace(
        data="d", store="s", work=tmp_path, steps=30, looks=9, only=["A"], backbones={"pixels": "p"}
    )
    (nothing, pixels), all_of_them = rows_of([NOTHING, "pixels"], [5], [1]), Row(NOTHING, 0, 1)
    plain, begun = command(args, nothing), command(args, pixels)
    assert begun[-2:] == ["--backbone", "p"] and plain[-3:] == ["--backbone", "p", "--fresh"]
    changed = {a for a, b in zip(plain, begun, strict=False) if a != b}
    assert changed == {str(tmp_path / nothing.name / "weights"), str(tmp_path / nothing.name)}
    assert plain[plain.index("--patients") + 1] == "5" and "--patients" not in command(args, all_of_them)


def test_the_table_has_a_mean_over_seeds_and_every_seed() -> None:
    found = {Row(NOTHING, 5, 0): 0.25, Row("p", 5, 0): 0.5, Row(NOTHING, 5, 1): 0.75, Row("p", 5, 1): 1.0}
    lines = table({row: {"val A fine": v} for row, v in found.items()}, ["A"]).splitlines()
    assert lines[2:] == ["| 5 | nothing | 0.500 (0.250, 0.750) |", "| 5 | p | 0.750 (0.500, 1.000) |"]


def test_fewer_patients_are_among_more_and_keep_all_their_scans(tmp_path: Path) -> None:
    volume = made_volume(tmp_path, "MR_Heart_ACDC")
    names = [f"MR_Heart_ACDC_patient{n:03d}-frame{f:02d}" for n in range(6) for f in (1, 9)]
    volumes = [replace(volume, name=name) for name in names]
    two, four = ([v.name for v in of_patients(volumes, n)] for n in (2, 4))
    assert len(two) == 4 and len(four) == 8 and set(two) < set(four)
    assert of_patients(volumes, 99) == volumes
