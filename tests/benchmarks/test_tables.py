"""Tables of benchmarks: limits on values and on ratios, and the two ways to write them."""

import json
from pathlib import Path

import pytest

from benchmarks.tables import Row, finish, markdown


@pytest.mark.parametrize(
    ("row", "ratio", "kept"),
    [
        (Row("a", 3.0), None, None),
        (Row("a", 3.0, limit=3.0), None, True),
        (Row("a", 3.1, limit=3.0), None, False),
        (Row("a", 3.0, against=2.0, than="b"), 1.5, None),
        (Row("a", 3.0, against=2.0, than="b", limit=1.5), 1.5, True),
        (Row("a", 3.0, against=2.0, than="b", limit=1.4), 1.5, False),
        (Row("a", None, limit=3.0), None, None),
    ],
)
def test_a_limit_is_on_the_ratio_where_there_is_one(row: Row, ratio: float | None, kept: bool | None) -> None:
    assert (row.ratio, row.kept) == (ratio, kept)


def test_a_limit_that_is_not_kept_is_marked_and_fails(tmp_path: Path) -> None:
    rows = [Row("quick", 1.0, limit=2.0), Row("slow", 5.0, "s", against=1.0, than="other", limit=2.0)]
    text = markdown("Speed", rows)
    assert text.startswith("### Speed\n")
    assert "| quick | 1 ms |  |  | <= 2 ms | yes |" in text
    assert "| slow | 5 s | 1 s, other | 5.00 | <= 2 | **no** |" in text
    assert finish({"Speed": rows}, tmp_path / "figures.json") == 1
    assert finish({"Speed": rows[:1]}, None) == 0
    told = json.loads((tmp_path / "figures.json").read_text())
    assert [row["kept"] for row in told["tables"]["Speed"]] == [True, False]
    assert told["machine"]["threads"] >= 1
