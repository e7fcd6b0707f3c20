"""What tests of whole runs share."""

from pathlib import Path

import pytest

from tests.inference.fakes import write_case


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two cases, a and b, and a folder for their outputs that is not there yet."""
    (tmp_path / "in").mkdir()
    for name in "ab":
        write_case(tmp_path / "in" / f"{name}.npz")
    return tmp_path / "in", tmp_path / "out"
