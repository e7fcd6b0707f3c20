"""What every test may ask for: the shared material of the project, and small made cases."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder `shared` beside the repository; a test that asks for it is skipped where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("no folder `shared` beside the repository: this test needs its real cases")
    return SHARED
