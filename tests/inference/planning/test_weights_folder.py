"""Which folder a name of weights means."""

from pathlib import Path

import pytest

from vesal.inference.planning.weights_folder import WEIGHTS, weights_folder


def test_weights_are_a_name_or_a_folder(tmp_path: Path) -> None:
    """A bare name lies in our weights/, a path stays what it is."""
    assert weights_folder("nano") == WEIGHTS / "nano"
    assert weights_folder(str(tmp_path)) == tmp_path
    assert weights_folder("./other") == Path("other")


def test_our_weights_win_over_a_folder_of_their_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where some folder `text` lies, the name still means ours; a name that we lack means that folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("text", "mine"):
        (tmp_path / name).mkdir()
    assert weights_folder("text") == WEIGHTS / "text"
    assert weights_folder("mine") == Path("mine")
