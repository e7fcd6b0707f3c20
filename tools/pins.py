"""Print pinned packages of pyproject.toml, one a line: `pins.py GROUP ... [--without PACKAGE ...]`.

GROUP is `runtime` (what the project itself depends on), or the name of an extra or of a dependency group.
Needs Python's own library alone, so that the image can be built with it.
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
RUNTIME = "runtime"


def groups_of(project: dict[str, Any]) -> dict[str, list[str]]:
    """Return the requirements of the runtime and of each extra, from pyproject.toml's table `project`."""
    return {RUNTIME: project["dependencies"], **project["optional-dependencies"]}


def resolve(groups: dict[str, list[str]], name: str, own: str = "vesal") -> list[str]:
    """Return the pins of the group `name`; an entry `own[A,B]` stands for the groups A and B."""
    pins: list[str] = []
    for requirement in groups[name]:
        other = re.fullmatch(rf"{own}\[([\w,-]+)\]", requirement)
        names = other[1].split(",") if other else []
        pins += [pin for each in names for pin in resolve(groups, each, own)] if other else [requirement]
    return list(dict.fromkeys(pins))


def main(arguments: Sequence[str]) -> int:
    """Print the pins; the exit code is 2 where a name is unknown."""
    content = tomllib.loads(PROJECT.read_text(encoding="utf-8"))
    groups = groups_of(content["project"]) | content["dependency-groups"]
    parser = argparse.ArgumentParser(prog="pins.py", description="Print the project's pinned packages.")
    parser.add_argument("groups", nargs="+", choices=groups, metavar="GROUP", help=", ".join(groups))
    parser.add_argument(
        "--without", action="append", default=[], metavar="PACKAGE", help="leave this one out"
    )
    options = parser.parse_args(arguments)
    pins = dict.fromkeys(pin for name in options.groups for pin in resolve(groups, name))
    names = [pin.partition("==")[0] for pin in pins]
    if unknown := set(options.without) - set(names):
        parser.error(f"{', '.join(sorted(unknown))} is not among {', '.join(names)}")
    print(*(pin for pin, name in zip(pins, names, strict=True) if name not in options.without), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
