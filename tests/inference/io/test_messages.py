"""Messages of rooms that several commands share do not advise options that only one of them has.

One may name the command with its option.
"""

import ast
import re
from pathlib import Path

import vesal.evaluation.files
import vesal.inference.io

COMMANDS = ("runner", "viewer")
"""Rooms that are a command by themselves."""
OPTION = re.compile(r"(?<![\w-])--[a-z]")
SHARED = [
    *(p for p in Path(vesal.inference.io.__file__).parents[1].rglob("*.py") if p.parent.name not in COMMANDS),
    Path(vesal.evaluation.files.__file__),
    Path(vesal.evaluation.files.__file__).with_name("scoring.py"),
]


def texts(path):
    """Texts of a module that are not docstrings."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    constants = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in docs)
    return [(node.lineno, node.value) for node in constants if isinstance(node.value, str)]


def test_no_shared_message_names_an_option():
    assert len(SHARED) > 80
    said = ((path.name, line, text) for path in SHARED for line, text in texts(path))
    assert [each for each in said if OPTION.search(each[2]) and "python -m vesal" not in each[2]] == []
