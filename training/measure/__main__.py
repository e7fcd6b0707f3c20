"""``python -m training.measure WHAT ...``: print a measurement as Markdown, write it as JSON."""

from __future__ import annotations

import argparse
from pathlib import Path

from inference.errors import VesalError
from training.measure import data, paraphrases, presence, stages, swaps
from training.measure.results import write_json

MEASUREMENTS = {
    "data": data,
    "paraphrases": paraphrases,
    "swaps": swaps,
    "presence": presence,
    "stages": stages,
}


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m training.measure", description=__doc__)
    chosen = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, module in MEASUREMENTS.items():
        words = (module.__doc__ or "").strip()
        sub = chosen.add_parser(name, help=words.splitlines()[0], description=words)
        module.add_arguments(sub)
        sub.add_argument("--json", type=Path, help="write the results to this file, too")
    args = parser.parse_args()
    try:
        report = MEASUREMENTS[args.what].measure(args)
    except VesalError as error:
        parser.error(str(error))
    print(report.markdown)
    if args.json:
        write_json(args.json, {"what": args.what, "markdown": report.markdown, **report.content})


if __name__ == "__main__":
    main()
