"""The wheel holds the one package `vesal`, all of it, and nothing else."""

import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path, PurePosixPath

import pytest

from tools.link_tree import rooms
from tools.pins import RUNTIME, groups_of, resolve
from vesal import __version__

BESIDE = {"benchmarks", "tests", "tools"}
"""Folders with code that stay in a checkout."""
JUNK = (
    "inference/__pycache__/engine.cpython-311.pyc",
    "weights/medal-s/fine.onnx",
    "weights/sat/manifest.json",
    "weights/nano/.digests.json",
    "vesal.egg-info/PKG-INFO",
)
"""What use leaves behind in a checkout."""
VENDORED = "inference/viewer/vendor/niivue.umd.js"
"""What the build puts into a checkout, and git does not have."""


def files_of(root: Path) -> list[PurePosixPath]:
    """Return the files of a checkout that git has, or would have after `git add`."""
    if shutil.which("git") is None or not (root / ".git").exists():
        pytest.skip("no git repository: what belongs to the tree is not known")
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip("\0").split("\0")
    return [PurePosixPath(name) for name in names if (root / name).is_file()]


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel of a copy of the checkout in which `JUNK` lies about, built without a network."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("wheel")
    for path in files_of(root):
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, copy / path)
    for name in (*JUNK, VENDORED):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes(b"junk")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    done = subprocess.run(
        [*command, "--wheel-dir", str(out), str(copy)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        yield archive


def test_one_package_and_its_metadata_are_installed(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"vesal", f"vesal-{__version__}.dist-info"}


def test_every_file_of_the_rooms_is_in_it_and_no_other(wheel: zipfile.ZipFile, root: Path) -> None:
    """Only the pictures of training's log stay behind."""
    folders = {"vesal": "vesal", **{name: f"vesal/{name}" for name in rooms(root)}}
    wanted = {
        str(PurePosixPath(folders[path.parts[0]], *path.parts[1:]))
        for path in files_of(root)
        if path.parts[0] in folders and path.suffix != ".png"
    }
    assert {name for name in wheel.namelist() if name.startswith("vesal/")} == wanted | {f"vesal/{VENDORED}"}
    assert {
        "vesal/py.typed",
        "vesal/weights/nano/weights.bin",
        "vesal/inference/prompts/vocabulary.json",
    } <= wanted


def test_no_folder_with_code_is_forgotten(root: Path) -> None:
    """A new one is a room of the package, or stays in the checkout like tests."""
    with_code = {path.parts[0] for path in files_of(root) if path.suffix == ".py" and len(path.parts) > 1}
    assert {name for name in with_code if not name.startswith(".")} == {"vesal", *rooms(root), *BESIDE}
    wheel = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["only-include"] == ["vesal", *wheel["sources"]]
    assert all(target == f"vesal/{name}" for name, target in wheel["sources"].items())


def test_pins_and_command_are_in_its_metadata(wheel: zipfile.ZipFile, root: Path) -> None:
    folder = f"vesal-{__version__}.dist-info"
    metadata = message_from_bytes(wheel.read(f"{folder}/METADATA"))
    needed = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    groups = groups_of(tomllib.loads((root / "pyproject.toml").read_text())["project"])
    assert sorted(needed) == sorted(resolve(groups, RUNTIME))
    assert set(metadata.get_all("Provides-Extra", [])) == groups.keys() - {RUNTIME}
    assert "vesal = vesal.__main__:main" in wheel.read(f"{folder}/entry_points.txt").decode()
