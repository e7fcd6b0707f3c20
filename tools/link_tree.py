"""Lay the checkout out as it is installed, by links below FOLDER: `link_tree.py FOLDER`.

mypy and import-linter look for packages in folders and do not run `vesal/__init__.py`, which finds the rooms
beside it in a checkout. Below the package lies what pyproject.toml installs, beside it
`benchmarks`, `tests` and `tools`.
"""

import os
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BESIDE = ("benchmarks", "tests", "tools")


def rooms(root: Path = ROOT) -> list[str]:
    """Return the top folders that are installed below the package, as pyproject.toml lists them."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    return list(project["tool"]["hatch"]["build"]["targets"]["wheel"]["sources"])


def link_tree(folder: Path, root: Path = ROOT) -> None:
    """Make or renew the links; what links to nothing any more goes."""
    package = folder / "vesal"
    package.mkdir(parents=True, exist_ok=True)
    wanted = {package / path.name: path for path in (root / "vesal").iterdir() if path.is_file()}
    wanted |= {package / name: root / name for name in rooms(root)}
    wanted |= {folder / name: root / name for name in BESIDE}
    for link in [*folder.iterdir(), *package.iterdir()]:
        if link.is_symlink():
            link.unlink()
    for link, path in wanted.items():
        link.symlink_to(os.path.relpath(path, link.parent))


def main(arguments: Sequence[str]) -> int:
    """Make the tree; the exit code is 2 without the one argument."""
    if len(arguments) != 1:
        print("usage: link_tree.py FOLDER", file=sys.stderr)
        return 2
    link_tree(Path(arguments[0]).resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
