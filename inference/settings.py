"""What a user can set: one frozen dataclass, from which command line and environment variables are made.

The line under each field is its help text; its name is the flag (`--dataset`), and where it is one of
`FROM_ENVIRONMENT` also the variable (`VESAL_SECONDS`). A flag wins over a variable, a variable over the
default.
"""

import argparse
import ast
import os
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from inference import __version__
from inference.errors import UsageError

ROOT = Path(__file__).resolve().parent.parent
FROM_ENVIRONMENT = ("seconds", "threads", "weights", "runtime", "hybrid")
RUNTIMES = ("auto", "openvino", "onnxruntime", "cuda")
HYBRID = COARSE, FINE, OFF = "coarse", "fine", "off"
"""Stages that can take a user's mask."""


@dataclass(frozen=True)
class Settings:
    """Everything that one run of the container needs to know from outside."""

    inputs: Path = Path("/workspace/inputs")
    """folder with NAME.npz cases, or one such file"""

    outputs: Path = Path("/workspace/outputs")
    """folder for the label maps NAME.npz, made if absent; for a single case also a file ending in .npz"""

    prompts: Path | None = None
    """JSON file with the prompts: one flat dict, or the challenge's file keyed by dataset"""

    dataset: str | None = None
    """key in the challenge's prompt file; otherwise the longest key that the file name starts with"""

    weights: str = "nano"
    """name of a folder in weights/, or path of a folder with a manifest.json"""

    report: Path | None = None
    """file for the run's report; otherwise report.json beside the outputs"""

    threads: int | None = None
    """upper limit of CPU threads; otherwise all that affinity and container allow"""

    seconds: float | None = None
    """time for each case; otherwise 60 for each prompt less 3, the first case counted from program start"""

    runtime: str = "auto"
    """what runs the network: auto, openvino, onnxruntime or cuda"""

    hybrid: str | None = None
    """stage that takes a user's mask as spatial prompt: coarse, fine or off; otherwise as the weights say"""

    verbosity: int = 0
    """1 logs more, -1 only warnings"""

    def __post_init__(self) -> None:
        """Refuse values that no run can use."""
        if self.runtime not in RUNTIMES:
            raise UsageError(f"runtime is {self.runtime!r}; choose one of {', '.join(RUNTIMES)}.")
        if self.hybrid is not None and self.hybrid not in HYBRID:
            raise UsageError(f"hybrid is {self.hybrid!r}; choose one of {', '.join(HYBRID)}.")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads is {self.threads}; give 1 or more, or leave it out.")
        if self.seconds is not None and not 0 < self.seconds < float("inf"):
            raise UsageError(f"seconds is {self.seconds}; give a finite number above 0, or leave it out.")
        if not self.weights:
            raise UsageError(f"weights is empty; give a name out of {ROOT / 'weights'} or a folder.")

    @property
    def weights_folder(self) -> Path:
        """Folder of the weights: a path if it holds a slash, else a name in our `weights/` or here.

        Ours wins: a folder `nano` where somebody happens to start has nothing to do with the weights.
        """
        ours = ROOT / "weights" / self.weights
        here = Path(self.weights)
        return here if os.sep in self.weights or (here.is_dir() and not ours.is_dir()) else ours


def read_settings(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings out of command line and environment.

    `-h` and `--version` print and leave with SystemExit(0). Raises UsageError for anything that makes no
    sense.
    """
    given = vars(make_parser().parse_args(list(arguments)))
    verbosity = given.pop("verbose") - given.pop("quiet")
    if given["inputs"] is not None and given["outputs"] is None:
        raise UsageError(f"INPUTS is {given['inputs']}, but OUTPUTS is missing; give both, or neither.")
    values = _from_environment(environment) | {
        name: value for name, value in given.items() if value is not None
    }
    return Settings(**values, verbosity=verbosity)


def make_parser() -> argparse.ArgumentParser:
    """The command line of `Settings`; it raises UsageError where argparse would leave the program."""
    parser = _Parser(
        prog="predict.sh",
        description="Segment 3D biomedical volumes from text prompts.",
        epilog="Exit code: 0 all good, 1 a case fell back, 2 wrong usage, 143 SIGTERM. Environment: "
        + ", ".join("VESAL_" + name.upper() for name in FROM_ENVIRONMENT),
        allow_abbrev=False,
    )
    helps, types_of = _docstrings(), typing.get_type_hints(Settings)
    for field in fields(Settings):
        kind = _plain_type(types_of[field.name])
        text = helps.get(field.name, "")
        if field.name in ("inputs", "outputs"):
            text += f" (default: {field.default})"
            parser.add_argument(field.name, nargs="?", type=kind, metavar=field.name.upper(), help=text)
        elif field.name != "verbosity":
            text += f" (default: {field.default})" if field.default is not None else ""
            metavar = "FILE" if kind is Path else None
            parser.add_argument("--" + field.name, type=kind, metavar=metavar, help=text)
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log more")
    parser.add_argument("-q", "--quiet", action="count", default=0, help="log warnings only, no bar")
    parser.add_argument("--version", action="version", version=f"vesal {__version__}")
    return parser


class _Parser(argparse.ArgumentParser):
    """argparse that reports by our named error."""

    def error(self, message: str) -> typing.NoReturn:
        """Raise UsageError with argparse's finding and where to look."""
        raise UsageError(f"{message}; `sh predict.sh --help` lists what there is.")


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Fields whose variable is set and not blank, in their own type."""
    types_of = typing.get_type_hints(Settings)
    values: dict[str, Any] = {}
    for name in FROM_ENVIRONMENT:
        variable = "VESAL_" + name.upper()
        text = environment.get(variable, "").strip()
        if not text:
            continue
        kind = _plain_type(types_of[name])
        try:
            values[name] = kind(text)
        except ValueError:
            raise UsageError(f"{variable} is {text!r}; give a {kind.__name__}, or unset it.") from None
    return values


def _plain_type(annotation: object) -> type:
    """`X` of `X` and of `X | None`."""
    if isinstance(annotation, types.UnionType):
        annotation = next(part for part in typing.get_args(annotation) if part is not types.NoneType)
    assert isinstance(annotation, type)
    return annotation


def _docstrings() -> dict[str, str]:
    """Field name -> the line under it, out of this file; empty where only compiled code is installed."""
    try:
        tree = ast.parse(Path(__file__).read_text(encoding="utf-8"))
    except OSError:
        return {}
    body = next(
        node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == Settings.__name__
    )
    pairs = zip(body, body[1:], strict=False)
    return {
        field.target.id: text.value.value
        for field, text in pairs
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(text.value.value, str)
    }
