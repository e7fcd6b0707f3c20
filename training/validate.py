"""``python -m vesal.training.validate --data DIR/val --weights FOLDER``: Dice per target, coarse and final.

Runs the very engine of the container on labelled cases, with the sentences that each file carries, and sets
the means beside what the weights must reach (``floors.json``). ``--write`` puts the mean Dice of each target
into the manifest, so that no figure there is typed by hand, and moves targets that nothing speaks for (no
case, or not above ``--least``) to ``not_covered``: the engine leaves those classes empty and says so.

After a training: once with ``--all --forget --write`` to find out what the weights can do, then again with
``--write``: targets compete for voxels, so those that stayed score a little differently without the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from vesal.inference.data.errors import VesalError
from vesal.training.coverage import write_scores
from vesal.training.measure import validation
from vesal.training.measure.results import write_json
from vesal.training.scores import Row


def main() -> None:
    """Parse the command line, run, print the tables."""
    parser = argparse.ArgumentParser(prog="python -m vesal.training.validate", description=__doc__)
    validation.add_arguments(parser)
    parser.add_argument("--write", action="store_true", help="write the scores into the manifest")
    parser.add_argument("--forget", action="store_true", help="with --write: drop scores of earlier weights")
    parser.add_argument("--least", type=float, default=0.5, help="mean Dice that a covered target exceeds")
    parser.add_argument("--json", type=Path, help="write the results to this file, too")
    args = parser.parse_args()
    try:
        report = validation.measure(args)
    except VesalError as error:
        parser.error(str(error))
    print(report.markdown)
    if args.json:
        write_json(args.json, {"what": "validation", "markdown": report.markdown, **report.content})
    if args.write:
        write_scores(args.weights, [Row(**row) for row in report.content["rows"]], args.least, args.forget)


if __name__ == "__main__":
    main()
