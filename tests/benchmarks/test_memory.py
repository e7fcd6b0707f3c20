"""The memory benchmark runs whole cases: here small ones."""

import json
from pathlib import Path

import pytest

from benchmarks import memory


def test_small_cases_go_all_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Five prompts, objects, other types and long axes, each in its own process, none of them a fallback."""
    figures = tmp_path / "figures.json"
    given = ["--prompts", "5", "--shape", "20", "48", "64", "--long", "5000", "--json", str(figures)]
    assert memory.main(given) == 0
    assert "5 prompts on 20x48x64" in capsys.readouterr().out
    rows = json.loads(figures.read_text())["tables"]["Memory"]
    assert len(rows) == 9 and all(20 < row["value"] < 4096 for row in rows)
    assert [row["what"].split()[2] for row in rows[2:5]] == ["int16", "float32", "float64"]
    assert all(row["kept"] and row["against"] > row["value"] / 1.15 for row in rows[2:5])
    assert rows[5]["what"].endswith("5000x1x1 voxels") and all(row["kept"] for row in rows[5:8])
    assert not any("error" in row["note"].lower() for row in rows)
    assert "5 views" in rows[0]["note"], "one coarse view, and four fine ones that five prompts share"


def test_too_many_prompts_are_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="ask for fewer"):
        memory.sentences(100_000, root / "weights" / "nano")
