"""Rules that hold for the whole repository: what the container may import, pins, and the size of files."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = ("inference", "postprocess")
RUNTIME_LISTS = ("requirements.txt", "requirements-cpu.txt", "requirements-gpu.txt")
SOURCES = [path for path in ROOT.rglob("*.py") if not str(path.relative_to(ROOT)).startswith(".")]


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
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} >= {*LIBRARY, "tests"}


@pytest.mark.parametrize("package", LIBRARY)
def test_the_container_imports_no_training_code(package: str) -> None:
    forbidden = {"torch", "onnx", "matplotlib", "networks", "training", "evaluation", "demo", "pytest"}
    for path in (ROOT / package).rglob("*.py"):
        assert not imported(path) & forbidden, path


@pytest.mark.parametrize("package", LIBRARY)
def test_the_container_has_what_it_imports(package: str) -> None:
    """What tests find installed (scipy, say) need not be in the image."""
    ours = {*LIBRARY, "weights"}
    shipped = {"numpy", "cc3d", "isal", "tokenizers", "tqdm", "openvino", "onnxruntime"}
    for path in (ROOT / package).rglob("*.py"):
        assert imported(path) <= ours | shipped | sys.stdlib_module_names, path


def test_filters_know_nothing_above_them() -> None:
    for path in (ROOT / "postprocess").rglob("*.py"):
        assert not imported(path) & {"evaluation", "networks", "training", "json", "pathlib"}, path


def prints(node: ast.AST) -> bool:
    """Say whether code prints outside of a function `main`, which is what makes a file a command."""
    if isinstance(node, ast.FunctionDef) and node.name == "main":
        return False
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
        return True
    return any(prints(child) for child in ast.iter_child_nodes(node))


@pytest.mark.parametrize("package", [*LIBRARY, "evaluation", "networks"])
def test_only_commands_print(package: str) -> None:
    printing = [path.name for path in (ROOT / package).rglob("*.py") if prints(ast.parse(path.read_text()))]
    assert not printing


def test_prints_are_seen() -> None:
    assert prints(ast.parse("def helper():\n    if x:\n        print(1)"))
    assert not prints(ast.parse("def main():\n    print(1)"))


def test_no_file_is_longer_than_400_lines() -> None:
    long = {path.name: n for path in SOURCES if (n := len(path.read_text().splitlines())) > 400}
    assert not long


@pytest.mark.parametrize("name", RUNTIME_LISTS)
def test_runtime_packages_are_pinned_and_hold_no_torch(name: str) -> None:
    lines = [line.strip() for line in (ROOT / name).read_text().splitlines()]
    packages = [line for line in lines if line and not line.startswith(("#", "-r "))]
    assert packages
    for package in packages:
        assert re.fullmatch(r"[\w-]+==[\w.]+", package), package
        assert not package.startswith("torch")


def test_every_copied_path_reaches_the_image_builder() -> None:
    """`.dockerignore` lets in what it names, so a COPY of anything else would fail, or bring nothing."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copies = re.findall(r"^COPY (?!--from)(\S+)", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    assert copies
    for source in copies:
        stem = source.split("*")[0]
        assert any(path == source or path.startswith((stem + "/", stem)) for path in allowed), source
