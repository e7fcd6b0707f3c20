"""`Settings` out of the command line and the environment.

A field's name is its flag (`--dataset`), and where it is one of `FROM_ENVIRONMENT` also a variable
(`VESAL_SECONDS`). A flag wins over a variable, a variable over the default.
"""

import argparse
import os
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from vesal import __version__
from vesal.inference.data.errors import UsageError
from vesal.inference.runner.settings import Settings
from vesal.inference.runner.spatial_options import add_spatial_options, marks_of

FROM_ENVIRONMENT = ("seconds", "threads", "weights", "runtime", "hybrid", "text_embeddings")


def read_settings(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings out of command line and environment.

    `-h`, `--version` and `--list` print and raise SystemExit(0). Raises UsageError for invalid arguments.
    """
    given = vars(make_parser().parse_args(list(arguments)))
    given["marks"] = marks_of(given.pop("box"), given.pop("point"))
    verbosity = given.pop("verbose") - given.pop("quiet")
    if given["inputs"] is not None and given["outputs"] is None:
        raise UsageError(
            f"INPUTS is {given['inputs']}, but OUTPUTS is missing; give both, or neither. Own scans are "
            "given as -i SCAN."
        )
    values = _from_environment(environment) | {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in given.items()
        if value is not None
    }
    return Settings(**values, verbosity=verbosity)


def make_parser() -> argparse.ArgumentParser:
    """The command line of `Settings`; it raises UsageError where argparse would leave the program."""
    parser = _Parser(
        prog="vesal",
        description="Segment 3D biomedical volumes from text prompts. In the container: sh predict.sh.",
        epilog="`vesal view SCAN [RESULT]` shows a case, `vesal batch` runs thousands. Exit code: 0 all "
        "good, 1 a case fell back, 2 wrong usage, 130 stopped from the keyboard, 143 SIGTERM. Environment: "
        + ", ".join("VESAL_" + name.upper() for name in FROM_ENVIRONMENT),
        allow_abbrev=False,
    )
    types_of = typing.get_type_hints(Settings)
    for field in fields(Settings):
        kind, text = _plain_type(types_of[field.name]), field.metadata["help"]
        if field.name in ("inputs", "outputs"):
            text += f" (default: {field.default})"
            parser.add_argument(field.name, nargs="?", type=kind, metavar=field.name.upper(), help=text)
        elif field.name not in ("verbosity", "marks"):
            _add_option(parser, field, kind)
    add_spatial_options(parser)
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log more")
    parser.add_argument("-q", "--quiet", action="count", default=0, help="log warnings only, no bar")
    parser.add_argument(
        "--list",
        action=_List,
        default=argparse.SUPPRESS,
        nargs="?",
        const="",
        metavar="NAME",
        help="list the weights that are there, the targets of one with synonyms and measured Dice, or what "
        "is known of a word: what it is read as, and which weights cover it",
    )
    parser.add_argument("--version", action="version", version=f"vesal {__version__}")
    return parser


def _add_option(parser: argparse.ArgumentParser, field: Field[Any], kind: type) -> None:
    """The option of a field; one that is not given is None."""
    more = dict(field.metadata["argument"])
    text = field.metadata["help"]
    if not more:
        text += f" (default: {field.default})" if field.default is not None else ""
    if more.get("action") != "store_true":
        more = {"type": kind, "metavar": "FILE" if kind is Path else None, **more}
    flags = field.metadata["flags"] or ("--" + field.name.replace("_", "-"),)
    parser.add_argument(*flags, dest=field.name, default=None, help=text, **more)


class _Parser(argparse.ArgumentParser):
    """argparse that raises UsageError instead of exiting."""

    def error(self, message: str) -> typing.NoReturn:
        """Raise UsageError with argparse's message and a hint."""
        raise UsageError(f"{message}; `{self.prog} --help` lists the options.")


class _List(argparse.Action):
    """`--list [NAME]`: prints and ends, as `--version` does; UsageError where there are no such weights."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Print; imported here, as a run needs none of it."""
        from vesal.inference.runner.listing import list_weights

        text = list_weights(values)
        try:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
        except BrokenPipeError:  # `vesal --list | head`; what Python flushes at its end goes nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        parser.exit()


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
    """`X` of `X`, of `X | None` and of `tuple[X, ...]`."""
    if typing.get_origin(annotation) is tuple:
        annotation = typing.get_args(annotation)[0]
    if isinstance(annotation, types.UnionType):
        annotation = next(part for part in typing.get_args(annotation) if part is not types.NoneType)
    assert isinstance(annotation, type)
    return annotation
