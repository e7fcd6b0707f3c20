"""Weights' files are hashed when they are first seen, and again when size or time has changed."""

import json
import logging
import os
from pathlib import Path

import pytest

from tests.inference.planning.test_profile import BANK, GRAPHS, manifest, write
from vesal.inference.data.errors import ProfileError
from vesal.inference.io import digests
from vesal.inference.io.digests import KEPT, Digests
from vesal.inference.planning.profile import read_profile


@pytest.fixture
def hashings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are hashed, in their order."""
    names: list[str] = []
    hashed = digests.hashed

    def counted(path: Path) -> str:
        names.append(path.name)
        return hashed(path)

    monkeypatch.setattr(digests, "hashed", counted)
    return names


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights."""
    return write(tmp_path, manifest())


def later(path: Path) -> None:
    """Give a file another time of change."""
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def test_files_are_hashed_at_the_first_start_only(folder: Path, hashings: list[str]) -> None:
    for _ in range(3):
        read_profile(folder)
    assert sorted(hashings) == sorted([*GRAPHS, BANK])
    assert not list(folder.glob(f"{KEPT}.*"))


def test_size_time_and_digest_are_kept_beside_the_files(folder: Path) -> None:
    read_profile(folder)
    facts = (folder / BANK).stat()
    assert json.loads((folder / KEPT).read_text())[BANK] == {
        "size": facts.st_size,
        "mtime_ns": facts.st_mtime_ns,
        "sha256": manifest()["files"][BANK]["sha256"],
    }


def test_a_touched_file_alone_is_hashed_again(folder: Path, hashings: list[str]) -> None:
    read_profile(folder)
    later(folder / BANK)
    hashings.clear()
    read_profile(folder)
    assert hashings == [BANK]
    read_profile(folder)
    assert hashings == [BANK]


@pytest.mark.parametrize("text", ["another size", BANK[::-1]])
def test_a_changed_file_is_refused_every_time(folder: Path, text: str) -> None:
    read_profile(folder)
    (folder / BANK).write_text(text)
    later(folder / BANK)
    for _ in range(2):
        with pytest.raises(ProfileError, match=f"{BANK} has sha256"):
            read_profile(folder)


def test_nothing_is_kept_where_digests_are_not_asked_for(folder: Path, hashings: list[str]) -> None:
    read_profile(folder, check_digests=False)
    assert not hashings and not (folder / KEPT).exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"bank.npz": 5}', '{"bank.npz": {"size": "1"}}', "\0\xff"])
def test_what_was_kept_and_is_broken_is_ignored_and_replaced(
    folder: Path, hashings: list[str], content: str
) -> None:
    (folder / KEPT).write_text(content, encoding="latin-1")
    read_profile(folder)
    read_profile(folder)
    assert len(hashings) == 4


def unwritable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every new file, as a read-only folder does; root may write into any."""

    def refuse(*_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", refuse)


@pytest.mark.parametrize(("large", "lines"), [(1, 1), (1 << 30, 0)])
def test_an_unwritable_folder_is_hashed_each_time_and_large_ones_are_told(
    folder: Path,
    hashings: list[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    large: int,
    lines: int,
) -> None:
    unwritable(monkeypatch)
    monkeypatch.setattr(digests, "LARGE_BYTES", large)
    with caplog.at_level(logging.WARNING, "vesal"):
        read_profile(folder)
    assert len(caplog.records) == lines
    assert all("Read-only file system" in record.getMessage() for record in caplog.records)
    read_profile(folder)
    assert len(hashings) == 8 and not (folder / KEPT).exists()


def test_a_file_that_changes_while_it_is_read_is_hashed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "graph"
    file.write_text("old")
    monkeypatch.setattr(digests, "hashed", lambda path: (later(path), "digest of the old one")[1])
    seen = Digests(tmp_path)
    seen.of("graph")
    seen.keep()
    monkeypatch.setattr(digests, "hashed", lambda path: "digest of the new one")
    assert Digests(tmp_path).of("graph") == "digest of the new one"
