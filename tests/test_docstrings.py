"""Who reads a function that takes arrays is told their shapes and the order of their axes."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOMS = ("inference", "postprocess", "networks", "evaluation", "training", "weights", "demo")
ARRAY = re.compile(r"\b(ndarray|Tensor|Probabilities)\b")
NOT_AN_ARRAY = re.compile(r"Callable|Mapping|dict")
"""Functions of arrays, and arrays by name: these have no shape of their own."""
SHAPE = re.compile(r"\((?:[\w*+/ ]+,)+[\w*+/. ]*\)|any shape|one shape")


def public_functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """Functions and methods that may be called from elsewhere; not those within functions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from public_functions(node)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def takes_arrays(function: ast.FunctionDef) -> bool:
    """Whether one of the arguments is said to be an array."""
    given = [*function.args.args, *function.args.kwonlyargs]
    types = [ast.unparse(one.annotation) for one in given if one.annotation is not None]
    return any(ARRAY.search(type_) and not NOT_AN_ARRAY.search(type_) for type_ in types)


def without_shapes(path: Path) -> list[str]:
    """Names of the functions of a file that take arrays and give no shape."""
    found = public_functions(ast.parse(path.read_text(encoding="utf-8")))
    return [f.name for f in found if takes_arrays(f) and not SHAPE.search(ast.get_docstring(f) or "")]


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_give_the_shapes_of_arrays(root: Path, room: str) -> None:
    missing = {str(path): names for path in (root / room).rglob("*.py") if (names := without_shapes(path))}
    assert not missing


def test_a_docstring_without_a_shape_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "made.py"
    head = "def f(mask: np.ndarray) -> int:\n"
    file.write_text(head + '    """Voxels of a mask (D, H, W)."""\n')
    assert without_shapes(file) == []
    file.write_text(head + '    """Voxels of a mask."""\n')
    assert without_shapes(file) == ["f"]
