"""The table of ablations, from the logs of its runs."""

import argparse
import csv
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from vesal.training.ablation import ROWS, command, read_rows, table  # noqa: E402
from vesal.training.ideas import Ideas  # noqa: E402
from vesal.training.plan import ending_s  # noqa: E402


def write_log(folder: Path, rows: list[tuple[int, str, float]]) -> None:
    """A run's log."""
    folder.mkdir(parents=True)
    with (folder / "log.csv").open("w", newline="") as handle:
        out = csv.writer(handle)
        out.writerow(["step", "seconds", "rate", "key", "value"])
        out.writerows([step, 0, 0, key, value] for step, key, value in rows)


def test_a_row_holds_the_last_values_of_its_run(tmp_path: Path) -> None:
    later = [
        (20, "val A coarse", 0.1),
        (40, "val A coarse", 0.5),
        (40, "val A fine", 0.625),
        (60, "loss fine", 1.0),
    ]
    write_log(tmp_path / "everything", later)
    write_log(tmp_path / "spad", [(40, "val A coarse", 0.25), (40, "val A fine", 0.125)])
    lines = table(read_rows(tmp_path, ["everything", "spad"]), ["A"]).splitlines()
    assert lines[0] == "| without | A coarse | A fine | mean fine | steps |"
    assert lines[2] == "| (nothing) | 0.500 | 0.625 | 0.625 | 60 |"
    assert lines[3] == "| spad | 0.250 | 0.125 | 0.125 | 40 |"


def arguments(work: Path, start: str | None = None, rate: float | None = None) -> argparse.Namespace:
    """The command line of a table."""
    shared = {"data": "d", "store": "t", "minutes": 6.0, "looks": 3, "only": ["A"], "seed": 5}
    return argparse.Namespace(work=work, start=start, rate=rate, **shared)


def test_every_row_but_the_first_switches_one_idea_off(tmp_path: Path) -> None:
    args = arguments(tmp_path)
    assert "--without" not in command(args, "everything")
    for row in ROWS[1:]:
        line = command(args, row)
        assert line[-2:] == ["--without", row]
        assert float(line[line.index("--hours") + 1]) == (360 + ending_s(3)) / 3600
        Ideas().without([row])


def test_all_rows_begin_from_the_same_weights_or_from_nothing(tmp_path: Path) -> None:
    nothing = command(arguments(tmp_path), "spad")
    assert not {"--start", "--rate"} & set(nothing)
    assert nothing[nothing.index("--seed") + 1] == "5"
    warm = command(arguments(tmp_path, "s", 1e-3), "spad")
    assert [warm[warm.index(option) + 1] for option in ("--start", "--rate")] == ["s", "0.001"]
