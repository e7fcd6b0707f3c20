"""Rules that hold for the whole repository: pins and imports, the size of files, ends of line.

Which room may import which is said by the contracts of import-linter in pyproject.toml.
"""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tools.pins import RUNTIME, groups_of, resolve
from vesal.cluster.places import PACKAGES

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ("inference", "postprocess")
SOURCES = [path for path in ROOT.rglob("*.py") if not str(path.relative_to(ROOT)).startswith(".")]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS = groups_of(PYPROJECT["project"])
MODULES = {
    "connected-components-3d": "cc3d",
    "onnxruntime-gpu": "onnxruntime",
    "pillow": "PIL",
    "pylibjpeg-libjpeg": "libjpeg",
    "pylibjpeg-openjpeg": "openjpeg",
    "ray[default]": "ray",
    "surface-distance": "surface_distance",
}
"""Packages that are imported under another name."""
NEEDS = {
    "vesal": (RUNTIME,),
    "inference": (RUNTIME, "gpu", "formats", "dicom-seg", "notebook"),
    "postprocess": (RUNTIME,),
    "cluster": (RUNTIME, "cluster"),
    "evaluation": (RUNTIME, "evaluation"),
    "demo": (RUNTIME, "evaluation"),
    "networks": (RUNTIME, "convert"),
    "weights": (RUNTIME, "convert"),
    "training": (RUNTIME, "train"),
    "benchmarks": (RUNTIME, "dev", "cluster"),
    "tests": (RUNTIME, "dev", "cluster"),
    "tools": (),
}
"""What has to be installed for the code of each folder: groups of pins."""


def imported(path: Path) -> set[str]:
    """Return the first names of all modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names


def test_there_are_sources() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == NEEDS.keys()


@pytest.mark.parametrize("folder", NEEDS)
def test_what_is_imported_is_pinned(folder: str) -> None:
    """What happens to be installed where tests run (scipy, say) need not be in the image."""
    pins = [pin.partition("==")[0] for group in NEEDS[folder] for pin in resolve(GROUPS, group)]
    ours = {"vesal"} | (
        {"benchmarks", "tests", "tools"} if folder in ("benchmarks", "tests", "tools") else set()
    )
    for path in (ROOT / folder).rglob("*.py"):
        assert imported(path) <= ours | {MODULES.get(pin, pin) for pin in pins} | sys.stdlib_module_names, (
            path
        )


@pytest.mark.parametrize("group", sorted(GROUPS.keys() - {"dev"}))
def test_every_pin_is_imported(group: str) -> None:
    """What the code has stopped using goes; the packages of CUDA are loaded by ONNX Runtime."""
    folders = [folder for folder, groups in NEEDS.items() if group in groups]
    used = set().union(*(imported(path) for folder in folders for path in (ROOT / folder).rglob("*.py")))
    used |= set(PACKAGES.values())  # which are imported by the scheme of a URL
    pins = [pin.partition("==")[0] for pin in GROUPS[group] if "==" in pin and not pin.startswith("nvidia-")]
    assert not {pin for pin in pins if MODULES.get(pin, pin) not in used}


def prints(node: ast.AST) -> bool:
    """Say whether code prints outside of a function `main`, which is what makes a file a command."""
    if isinstance(node, ast.FunctionDef) and node.name == "main":
        return False
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
        return True
    return any(prints(child) for child in ast.iter_child_nodes(node))


@pytest.mark.parametrize("package", [*LIBRARY, "vesal", "evaluation", "networks"])
def test_only_commands_print(package: str) -> None:
    printing = [path.name for path in (ROOT / package).rglob("*.py") if prints(ast.parse(path.read_text()))]
    assert not printing


def test_prints_are_seen() -> None:
    assert prints(ast.parse("def helper():\n    if x:\n        print(1)"))
    assert not prints(ast.parse("def main():\n    print(1)"))


def test_no_file_is_longer_than_400_lines() -> None:
    long = {path.name: n for path in SOURCES if (n := len(path.read_text().splitlines())) > 400}
    assert not long


def test_every_folder_of_the_package_is_seen_by_import_linter() -> None:
    """It passes over folders without `__init__.py`, and what is in them would be bound by no contract."""
    folders = {
        path.parent
        for path in SOURCES
        if path.relative_to(ROOT).parts[0] in NEEDS.keys() - {"benchmarks", "tests"}
    }
    assert not {str(folder) for folder in folders if not (folder / "__init__.py").is_file()}


@pytest.mark.parametrize("group", GROUPS)
def test_packages_are_pinned(group: str) -> None:
    pins = resolve(GROUPS, group)
    assert pins
    for pin in pins:
        assert re.fullmatch(r"[\w-]+(\[\w+\])?==[\w.]+", pin), pin


def test_no_package_has_two_pins() -> None:
    """But ONNX Runtime, which has a package with CUDA and one without."""
    pins = {pin for group in GROUPS for pin in resolve(GROUPS, group)} | set(
        PYPROJECT["build-system"]["requires"]
    )
    names = sorted(pin.partition("==")[0] for pin in pins)
    assert names == sorted(set(names))


@pytest.mark.parametrize("group", [RUNTIME, "gpu"])
def test_the_container_needs_no_torch(group: str) -> None:
    assert not {pin.partition("==")[0] for pin in resolve(GROUPS, group)} & {"torch", "onnx", "scipy"}


def test_every_copied_path_reaches_the_image_builder() -> None:
    """`.dockerignore` lets in what it names, so a COPY of anything else would fail, or bring nothing."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert {"pyproject.toml", "inference"} <= {source for copy in copies for source in copy.split()}
    for source in (source for copy in copies for source in copy.split()):
        assert any(path == source or path.startswith(source + "/") for path in allowed), source


def test_files_have_their_ends_of_line_on_every_machine() -> None:
    """A clone on Windows would give `predict.sh` a CR a line, and no shell would run it in the container."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no git repository: nothing is cloned from here")
    git = ["git", "-C", str(ROOT)]
    names = subprocess.run([*git, "ls-files", "-z"], check=True, capture_output=True).stdout.strip(b"\0")
    found = subprocess.run(
        [*git, "check-attr", "--stdin", "-z", "text", "eol"], input=names, check=True, capture_output=True
    ).stdout
    fields = iter(found.decode().strip("\0").split("\0"))
    attributes: dict[str, dict[str, str]] = {}
    for name, attribute, value in zip(fields, fields, fields, strict=True):
        attributes.setdefault(name, {})[attribute] = value
    as_text, as_bytes = {"text": "auto", "eol": "lf"}, {"text": "unset", "eol": "lf"}
    assert (
        attributes["predict.sh"]
        == attributes[".ci/run"]
        == attributes["weights/nano/manifest.json"]
        == as_text
    )
    for name, of_file in attributes.items():
        binary = b"\0" in (ROOT / name).read_bytes() if (ROOT / name).is_file() else None
        assert binary is None or of_file == (as_bytes if binary else as_text), name
