"""Time a submission as the organizers do: `python -m vesal.evaluation.timing IMAGE_NAME CASES`.

Each case is run alone with the official command line, in docker or podman, whichever works and has the image;
`--engine process` times `sh predict.sh` without a container. Every case has 60 seconds a class, the start of
the container included.

Exit code 0: everything passes; 1: something fails; 2: wrong usage.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from vesal.evaluation.engines import Engine, ProcessEngine, choose_engine
from vesal.evaluation.errors import EvaluationError
from vesal.evaluation.files import cases_in
from vesal.evaluation.report import as_text
from vesal.evaluation.submission import Check, check_image_name, check_script, output_problems
from vesal.inference.data.errors import CaseError
from vesal.inference.io.formats import case_name, read_case, read_shape, side_files

SECONDS_PER_CLASS = 60
SECONDS_PER_MARKED_CLASS = 90
"""Of the interactive track, whose cases have boxes and clicks and no sentences."""
PATIENCE = 1.5
"""A case is stopped after this many times its limit: it has failed by then, and others want their turn."""


@dataclass(frozen=True)
class CaseTiming:
    """What became of one case."""

    case: str
    classes: int
    seconds: float
    limit_s: float
    peak_mb: float | None
    ok: bool
    problems: tuple[str, ...]
    note: str = ""
    """Files beside the case that were run with it: the official script copies NAME.npz alone."""


def time_case(engine: Engine, case: Path, keep: Path | None = None) -> CaseTiming:
    """Run one case alone, in folders of its own, and look at its output.

    Args:
        engine: how to run it.
        case: NAME.npz. It is copied with what belongs to it (`side_files`), so that what is timed is what a
            run on its folder does; the official script copies NAME.npz alone, which the note says then.
        keep: folder for the output, or None.
    """
    classes, each_s, shape, problems = _expected(case)
    beside = side_files(case)
    limit_s = each_s * classes
    with tempfile.TemporaryDirectory(prefix="vesal-timing-") as scratch:
        inputs, outputs = (Path(scratch).resolve() / name for name in ("inputs", "outputs"))
        for folder in (inputs, outputs):
            folder.mkdir()
            folder.chmod(0o777)
        Path(scratch).chmod(0o755)
        for file in (case, *beside):
            shutil.copy(file, inputs)
        run = engine.run(inputs, outputs, PATIENCE * limit_s)
        problems += output_problems(outputs / case.name, shape) if shape else []
        if keep and (outputs / case.name).is_file():
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(outputs / case.name, keep)
    if run.killed:
        problems.append(f"stopped after {run.seconds:.0f} s")
    elif run.seconds > limit_s:
        problems.append(f"over the limit by {run.seconds - limit_s:.1f} s; the case scores 0")
    if run.exit_code and not run.killed:
        problems.append(f"exit code {run.exit_code}: {_last_line(run.tail)}")
    names = ", ".join(file.name for file in beside)
    note = f"run with {names}, which the official script leaves out" if beside else ""
    name = case_name(case)
    return CaseTiming(name, classes, run.seconds, limit_s, run.peak_mb, not problems, tuple(problems), note)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        cases = cases_in(options.cases)
        engine, checks = _prepare(options)
    except EvaluationError as error:
        print(f"evaluation.timing: {error}", file=sys.stderr)
        return 2
    official = engine.command(Path("$PWD/inputs/"), Path("$PWD/outputs/"))
    print(f"{engine.name}: {shlex.join(official)}")
    print(as_text([_check_row(check) for check in checks]))
    timings = [time_case(engine, case, options.keep) for case in _with_bar(cases)]
    passed = all(c.ok for c in checks) and all(t.ok for t in timings)
    print(as_text([_timing_row(timing) for timing in timings]))
    print("PASS" if passed else "FAIL")
    _write(options.output, engine.name, official, checks, timings, passed)
    return 0 if passed else 1


def _prepare(options: argparse.Namespace) -> tuple[Engine, list[Check]]:
    """Return the engine and what the submission looks like before any case is run."""
    if options.engine == "process":
        script = options.script.resolve()
        if not script.is_file():
            raise EvaluationError(f"no {script}; give --script, or run in the folder of predict.sh")
        engine: Engine = ProcessEngine(script)
        return engine, check_script(engine, script.name)
    engine = choose_engine(options.image, options.engine, options.memory, options.run_option)
    return engine, [check_image_name(options.image), *check_script(engine)]


def _expected(case: Path) -> tuple[int, int, tuple[int, ...] | None, list[str]]:
    """Return classes, seconds of each, and shape of a case; an unreadable one counts as one class and is a
    problem.
    """
    try:
        read = read_case(case)
    except CaseError as error:
        return 1, SECONDS_PER_CLASS, read_shape(case), [f"the case itself: {error}"]
    each_s = SECONDS_PER_MARKED_CLASS if read.interactive else SECONDS_PER_CLASS
    return len(read.sentences), each_s, read.image.shape, []


def _write(
    path: Path,
    engine: str,
    command: Sequence[str],
    checks: Sequence[Check],
    timings: Sequence[CaseTiming],
    passed: bool,
) -> None:
    content = {
        "engine": engine,
        "command": list(command),
        "pass": passed,
        "checks": [asdict(check) for check in checks],
        "cases": [asdict(timing) for timing in timings],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _check_row(check: Check) -> dict[str, str]:
    return {"Check": check.name, "Result": "pass" if check.ok else "FAIL", "Detail": check.detail}


def _timing_row(timing: CaseTiming) -> dict[str, str]:
    peak = "unknown" if timing.peak_mb is None else f"{timing.peak_mb:.0f}"
    times = {"Seconds": f"{timing.seconds:.1f}", "Limit": f"{timing.limit_s:.0f}", "PeakMB": peak}
    result = "; ".join(["pass" if timing.ok else "FAIL", *timing.problems, *filter(None, [timing.note])])
    return {"Case": timing.case, "Classes": str(timing.classes), **times, "Result": result}


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][-200:] if lines else "no output"


def _with_bar(cases: list) -> list:
    from tqdm import tqdm

    return tqdm(cases, desc="timing", unit="case", disable=None)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m vesal.evaluation.timing", description="Time a submission.")
    parser.add_argument(
        "image", metavar="IMAGE_NAME", help="name of the image (any word with --engine process)"
    )
    parser.add_argument(
        "cases", type=Path, metavar="CASES", help="folder of input volumes NAME.npz, or one file"
    )
    parser.add_argument("--engine", choices=("auto", "docker", "podman", "process"), default="auto")
    parser.add_argument("--script", type=Path, default=Path("predict.sh"), help="for --engine process")
    parser.add_argument("--memory", default="32G", help="memory limit of the container (official: 32G)")
    parser.add_argument(
        "--run-option",
        action="append",
        default=[],
        help="further option of `run`, such as --run-option=--network=none",
    )
    parser.add_argument("--keep", type=Path, help="folder to keep the outputs in, for `vesal.evaluation`")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("timing.json"), help="where to write the JSON"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
