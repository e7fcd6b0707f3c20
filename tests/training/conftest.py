"""What the tests of training share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # these need torch, without which the tests are skipped
    from vesal.training.store import Volume


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training in fp32 on every machine."""
    torch = pytest.importorskip("torch", reason="training needs torch")
    monkeypatch.setattr("training.loop.processor_precision", lambda: torch.float32)


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """Liver and spleen."""
    from tests.training.made import made_volume

    return made_volume(tmp_path / "data")
