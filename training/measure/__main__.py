"""``python -m vesal.training.measure WHAT ...``: print a measurement as Markdown, write it as JSON."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from vesal.inference.data.errors import VesalError
from vesal.training.measure import (
    data,
    finer,
    identified,
    marked,
    orientation,
    paraphrases,
    presence,
    robustness,
    stages,
    swaps,
    thickness,
    validation,
)
from vesal.training.measure.results import write_json

MEASUREMENTS = {
    "validation": validation,
    "data": data,
    "paraphrases": paraphrases,
    "swaps": swaps,
    "presence": presence,
    "stages": stages,
    "finer": finer,
    "orientation": orientation,
    "marked": marked,
    "identified": identified,
    "thickness": thickness,
    "robustness": robustness,
}


ALL = "all"


def make_parser() -> argparse.ArgumentParser:
    """A sub-command for each measurement, and one for all."""
    parser = argparse.ArgumentParser(prog="python -m vesal.training.measure", description=__doc__)
    chosen = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, module in MEASUREMENTS.items():
        words = (module.__doc__ or "").strip()
        sub = chosen.add_parser(name, help=words.splitlines()[0], description=words)
        module.add_arguments(sub)
        sub.add_argument("--json", type=Path, help="write the results to this file, too")
    every = chosen.add_parser(ALL, help="All of these and the validation, as the model card takes them.")
    every.add_argument("--data", type=Path, required=True, help="folder with train/ and val/")
    every.add_argument("--weights", type=Path, required=True, help="folder with a manifest.json")
    every.add_argument("--prompts", type=Path, nargs="+", required=True, help="files as the challenge's own")
    every.add_argument("--real", type=Path, help="further cases: folder with imgs/ and gts/")
    every.add_argument("--most", type=int, default=0, help="at most this many cases of a set; 0: all")
    every.add_argument(
        "--out", type=Path, help="folder for the JSON files; training/measured/WEIGHTS if left out"
    )
    return parser


def flags_of_all(args: argparse.Namespace) -> dict[str, list[str]]:
    """Command line of each measurement that `all` makes; its paraphrases run one case of a set."""
    val, weights = ["--data", str(args.data / "val")], ["--weights", str(args.weights)]
    most, real = ["--most", str(args.most)], ["--real", str(args.real)] if args.real else []
    return {
        "validation": [*val, *weights, *most, *real],
        "data": ["--data", str(args.data)],
        "paraphrases": ["--prompts", *map(str, args.prompts), *val, *weights],
        "stages": [*val, *weights, *most, *real],
        "swaps": [*val, *weights, *most, *real],
        "presence": [*val, *weights, *most, *real, "--thresholds", "0.3", "0.5"],
        "finer": [*val, *weights, *most],
        "orientation": [*val, *weights, *most],
        "marked": [*val, *weights, *most],
        "identified": [*val, *weights, *most],
        "thickness": [*val, *weights, *most],
        "robustness": [*val, *weights, *most],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, measure, print."""
    parser = make_parser()
    args = parser.parse_args(arguments)
    if args.what == ALL:
        out = args.out or Path(__file__).parent.parent / "measured" / args.weights.resolve().name
        for name, flags in flags_of_all(args).items():
            main([name, *flags, "--json", str(out / f"{name}.json")])
        return
    try:
        report = MEASUREMENTS[args.what].measure(args)
    except VesalError as error:
        parser.error(str(error))
    print(report.markdown)
    if args.json:
        write_json(args.json, {"what": args.what, "markdown": report.markdown, **report.content})


if __name__ == "__main__":
    main()
