"""The worked examples of CONTRIBUTING.md, carried out on a copy of the checkout: they cannot rot."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
EXAMPLES = ("A new postprocessing rule", "A new file format", "A new family")
FENCE = re.compile(r"^```(?P<kind>\w+) (?P<path>\S+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
COPIED = ("vesal", "inference", "postprocess", "networks", "evaluation", "tests")


@dataclass(frozen=True)
class Block:
    """One fenced block that names a file: a whole new one (`python`), or changes of one (`diff`)."""

    kind: str
    path: str
    body: str

    def carry_out(self, checkout: Path) -> None:
        """Write the file, or change it; every hunk of a change has to fit exactly one place."""
        path = checkout / self.path
        if self.kind == "python":
            assert not path.exists(), f"{self.path} is no new file"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self.body, encoding="utf-8")
            return
        text = path.read_text(encoding="utf-8")
        for hunk in re.split(r"^@@.*\n", self.body, flags=re.MULTILINE):
            lines = hunk.splitlines(keepends=True)
            before = "".join(line[1:] or "\n" for line in lines if line[0] != "+")
            after = "".join(line[1:] or "\n" for line in lines if line[0] != "-")
            assert text.count(before) == 1, f"{self.path} has {text.count(before)} places for:\n{before}"
            text = text.replace(before, after)
        path.write_text(text, encoding="utf-8")


def example(heading: str) -> list[Block]:
    """The blocks of the section under `heading`, in their order."""
    section = CONTRIBUTING.read_text(encoding="utf-8").split(f"\n### {heading}\n")[1]
    section = re.split(r"^##", section, flags=re.MULTILINE)[0]
    return [Block(**found.groupdict()) for found in FENCE.finditer(section)]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the code, with the weights as they are."""
    for name in COPIED:
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "weights").symlink_to(ROOT / "weights")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def run(checkout: Path, *module: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m module ...` in the copy."""
    command = [sys.executable, "-m", *module]
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=600)


def test_the_examples_are_those_that_are_there() -> None:
    headings = re.findall(r"^### (.*)$", CONTRIBUTING.read_text(encoding="utf-8"), re.MULTILINE)
    assert tuple(headings) == EXAMPLES


@pytest.mark.parametrize("heading", EXAMPLES)
def test_an_example_runs_and_passes_its_own_tests(heading: str, checkout: Path) -> None:
    blocks = example(heading)
    new = [block.path for block in blocks if block.kind == "python"]
    tests = [path for path in new if path.startswith("tests/")]
    assert tests and len(new) > len(tests)
    for block in blocks:
        block.carry_out(checkout)
    ran = run(checkout, "pytest", "-q", "-p", "no:cacheprovider", "tests/test_docstrings.py", *tests)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    for check in (("check",), ("format", "--check")):
        ran = run(checkout, "ruff", *check, "--no-cache", *new)
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_an_example_without_its_changes_fails(checkout: Path) -> None:
    """What the test above sees is the example: its own tests fail where its edits are left out."""
    blocks = [block for block in example(EXAMPLES[0]) if block.kind == "python"]
    for block in blocks:
        block.carry_out(checkout)
    tests = [block.path for block in blocks if block.path.startswith("tests/")]
    assert run(checkout, "pytest", "-q", "-p", "no:cacheprovider", *tests).returncode == 1
