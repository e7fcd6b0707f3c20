"""The table of the rule `edges` is made of masks whose objects are known."""

import pytest

pytest.importorskip("torch", reason="tables are made by training's measurement")

from benchmarks import edges  # noqa: E402


def test_a_small_table(capsys: pytest.CaptureFixture[str]) -> None:
    """64 x 80 x 80: cells end after 64 voxels, so 2 x 2 x 2 of them touch; the others are one object."""
    assert edges.main(["--shape", "64", "80", "80", "--times", "1"]) == 0
    rows = [line.split("|")[1:3] for line in capsys.readouterr().out.splitlines() if line.startswith("|")][2:]
    assert [(name.strip(), int(objects)) for name, objects in rows] == [
        ("cells that touch", 8),
        ("one organ", 1),
        ("edge all through", 1),
    ]
