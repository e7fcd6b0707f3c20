"""Write the requirements files of the image, with the SHA-256 of every wheel: `python -m tools.lock`.

Run after a pin in pyproject.toml has changed. PyPI is asked for the digests of each pinned release; of its
wheels those count that an image may take, on x86_64 and aarch64. Needs Python's own library alone.
"""

import json
import re
import sys
import tomllib
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.pins import PROJECT, groups_of, resolve

ROOT = Path(__file__).resolve().parent.parent

INDEX = "https://pypi.org/simple"
JSON = "application/vnd.pypi.simple.v1+json"
"""PEP 691: the index with the digest of every file."""
FILES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "requirements.txt": (("runtime",), ()),
    "requirements-gpu.txt": (("runtime", "gpu"), ("openvino",)),
    "requirements-formats.txt": (("formats", "formats-image"), ()),
    "requirements-build.txt": (("build",), ()),
}
"""Groups of pyproject.toml that a file holds, and packages that it leaves out."""
MACHINES = ("x86_64", "aarch64")
OLDEST = 11
"""Python 3.11 is the oldest that `requires-python` allows."""
HEADER = "# Made by `python -m tools.lock` of the pins in pyproject.toml, for x86_64 and aarch64.\n"

Files = Sequence[Mapping[str, Any]]
"""Entries of a package's page: `filename`, and `hashes` with `sha256`."""


def is_taken(filename: str) -> bool:
    """Whether a file is a wheel that an image may install: glibc or any machine, Python 3.11 or later."""
    if not filename.endswith(".whl"):
        return False
    python, abi, platform = filename.removesuffix(".whl").rsplit("-", 3)[1:]
    if platform != "any" and not re.search(rf"(?:many)?linux.*_(?:{'|'.join(MACHINES)})", platform):
        return False
    if "musllinux" in platform and "manylinux" not in platform:
        return False
    minor = re.search(r"cp3(\d+)", python)
    if minor and abi != "abi3":
        return int(minor[1]) >= OLDEST and not abi.endswith("t")
    return minor is not None or "py3" in python


def requirement(pin: str, files: Files) -> str:
    """The lines of one package: its pin and each wheel's digest. Raises SystemExit where there is none."""
    name, _, version = pin.partition("==")
    wheels = {f["filename"]: f["hashes"]["sha256"] for f in files if is_taken(f["filename"])}
    digests = sorted(d for wheel, d in wheels.items() if _is_of(wheel, name, version))
    if not digests:
        raise SystemExit(f"{pin}: PyPI has no wheel for {' or '.join(MACHINES)}; pin another version.")
    return " \\\n    ".join([pin, *(f"--hash=sha256:{digest}" for digest in digests)])


def _is_of(wheel: str, name: str, version: str) -> bool:
    """Whether a wheel, whose name has no dash before its version, is of this release."""
    theirs, its_version, *_ = wheel.split("-")
    plain = (re.sub("[-_.]+", "-", each).lower() for each in (theirs, name))
    return its_version == version and len(set(plain)) == 1


def ask(name: str) -> Files:
    """Files of all releases of a package."""
    request = urllib.request.Request(f"{INDEX}/{name}/", headers={"Accept": JSON})
    with urllib.request.urlopen(request, timeout=60) as answer:
        files: Files = json.load(answer)["files"]
    return files


def pins_of(groups: Iterable[str], without: Iterable[str]) -> list[str]:
    """The pins of some groups of pyproject.toml."""
    content = tomllib.loads(PROJECT.read_text(encoding="utf-8"))
    known = groups_of(content["project"]) | content["dependency-groups"]
    pins = dict.fromkeys(pin for group in groups for pin in resolve(known, group))
    return [pin for pin in pins if pin.partition("==")[0] not in without]


def main() -> int:
    """Write the files."""
    for file, (groups, without) in FILES.items():
        rows = [requirement(pin, ask(pin.partition("==")[0])) for pin in pins_of(groups, without)]
        (ROOT / file).write_text(HEADER + "\n".join(rows) + "\n", encoding="utf-8")
        print(f"{file}: {len(rows)} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main())
