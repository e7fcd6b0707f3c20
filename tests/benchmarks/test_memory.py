"""The memory benchmark runs whole cases: here small ones."""

import json
from pathlib import Path

import pytest

from benchmarks import memory


def test_small_cases_go_all_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Five prompts and an instance case, each in a process of its own, none of them a fallback."""
    figures = tmp_path / "figures.json"
    given = ["--prompts", "5", "--shape", "20", "48", "64", "--json", str(figures)]
    assert memory.main(given) == 0
    assert "5 prompts on 20x48x64" in capsys.readouterr().out
    rows = json.loads(figures.read_text())["tables"]["Memory"]
    assert len(rows) == 3 and all(20 < row["value"] < 4096 for row in rows)
    assert "4 views" in rows[0]["note"], "one coarse view, and three fine ones that five prompts share"


def test_too_many_prompts_are_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="ask for fewer"):
        memory.sentences(100_000, root / "weights" / "nano")
