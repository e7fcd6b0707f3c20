"""How fast everything is, with one command: `python -m benchmarks.speed CASES`.

CASES holds `imgs/NAME.npz`, and `gts/NAME.npz` for those that are scored. Every figure with a limit stands
beside what it is compared with, measured in turns in the same run; absolute times depend on the machine.
`--only` picks tables, `--json` writes the figures. Exit code 1: some limit was not kept.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.measure import ROOT, as_in_a_container, count_processor_time
from vesal.inference.runtime.machine import available_threads

TABLES = ("start", "calling", "resampling", "overhead", "prompts", "cases", "skipping")


def main(arguments: list[str] | None = None) -> int:
    """Make the tables that are asked for."""
    parser = argparse.ArgumentParser("python -m benchmarks.speed", description=__doc__.split("\n")[0])
    parser.add_argument("cases", type=Path, help="folder with imgs/")
    parser.add_argument("--labelled", type=Path, help="folder of labelled cases, for the table on skipping")
    parser.add_argument("--each", type=int, default=2, help="labelled cases of each subfolder; 0: all")
    parser.add_argument("--weights", type=Path, default=ROOT / "weights" / "nano")
    parser.add_argument("--only", nargs="+", choices=TABLES, default=TABLES)
    parser.add_argument("--times", type=int, default=5, help="goes, of which the best counts")
    parser.add_argument(
        "--processor-time", action="store_true", help="count processors' seconds: for a machine that is busy"
    )
    parser.add_argument("--json", type=Path, help="file for the figures")
    options = parser.parse_args(arguments)
    threads = available_threads()
    as_in_a_container(threads)
    if options.processor_time:
        count_processor_time()
    return _measure(options, threads)


def _measure(options: argparse.Namespace, threads: int) -> int:
    """Imported late: numpy reads its limits of threads when it is loaded."""
    from benchmarks import calling, overhead, resampling, skipping, start, whole
    from benchmarks.tables import Row, finish, markdown

    weights, times = options.weights, options.times
    cases = sorted((options.cases / "imgs").glob("*.npz"))
    if not cases:
        raise SystemExit(f"{options.cases / 'imgs'} holds no npz; give a folder with imgs/NAME.npz.")
    many = most_prompts(cases)
    tables: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "out").mkdir()
        makers: dict[str, tuple[str, Callable[[], list[Row]]]] = {
            "start": ("Cold start", lambda: start.rows(weights, folder, times)),
            "calling": ("From Python", lambda: calling.rows(many, weights, folder, times)),
            "resampling": ("Resampling", lambda: resampling.rows(many, weights, threads, times)),
            "overhead": (
                f"Engine overhead, {many.stem}",
                lambda: overhead.rows(many, weights, folder, times),
            ),
            "prompts": (
                "Many prompts",
                lambda: (
                    whole.network_rows(many, weights, times) + whole.prompt_rows(many, weights, folder, times)
                ),
            ),
            "cases": (
                "Whole cases",
                lambda: whole.case_rows(cases, weights, folder, times, sorted({1, threads})),
            ),
            "skipping": ("Skipped windows", lambda: skipping.rows(labelled(options, cases), weights)),
        }
        for table in options.only:
            title, make = makers[table]
            tables[title] = make()
            print(markdown(title, tables[title]), flush=True)
    return finish(tables, options.json)


def most_prompts(cases: list[Path]) -> Path:
    """The case with most prompts."""
    from vesal.inference.io.formats import read_case

    return max(cases, key=lambda case: len(read_case(case).sentences))


def labelled(options: argparse.Namespace, cases: list[Path]) -> list[Path]:
    """Some cases of every subfolder of ``--labelled``; without it the cases that have labels."""
    if options.labelled is None:
        return [case for case in cases if (case.parent.parent / "gts" / case.name).exists()]
    folders = sorted({file.parent for file in options.labelled.rglob("*.npz")})
    each = options.each or None
    return [case for folder in folders for case in sorted(folder.glob("*.npz"))[:each]]


if __name__ == "__main__":
    sys.exit(main())
