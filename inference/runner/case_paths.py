"""From the two paths of the command line to the cases: which file is read, and where its label map goes."""

from dataclasses import dataclass
from pathlib import Path

from vesal.inference.data.errors import UsageError
from vesal.inference.io.user_mask import is_mask_file

SUFFIX = ".npz"


@dataclass(frozen=True)
class CasePaths:
    """One input file and the output file that belongs to it."""

    input: Path
    output: Path

    @property
    def name(self) -> str:
        """The case's name, the input's stem."""
        return self.input.stem


def find_cases(inputs: Path, outputs: Path) -> tuple[CasePaths, ...]:
    """Pair every case with its output, sorted by name, and make the folder of the outputs.

    A folder gives the `*.npz` directly in it, without hidden and temporary ones (names that begin with `.` or
    `~`) and without masks (`NAME.prompt.npz` beside `NAME.npz`); a single file may go into a folder or to a
    name ending in .npz. Raises UsageError where that cannot work.
    """
    cases = _find_cases(inputs)
    single = outputs.suffix == SUFFIX and not outputs.is_dir()
    if single and not inputs.is_file():
        raise UsageError(f"{inputs} is a folder but {outputs} names one file; give a folder for the outputs.")
    jobs = tuple(CasePaths(case, outputs if single else outputs / case.name) for case in cases)
    for job in jobs:
        if job.output.resolve() == job.input.resolve():
            raise UsageError(
                f"{job.output} would replace the case it is made from; give another output folder."
            )
        if job.output.is_dir():
            raise UsageError(f"{job.output} is a folder where the label map should go; remove or rename it.")
    _make_folder(outputs.parent if single else outputs)
    return jobs


def _find_cases(inputs: Path) -> list[Path]:
    """Every case at `inputs`, sorted by name; at least one."""
    if inputs.is_file():
        if inputs.suffix != SUFFIX:
            raise UsageError(f"{inputs} is not a {SUFFIX} file; give a NAME.npz or a folder of them.")
        return [inputs]
    try:
        found = sorted(path for path in inputs.iterdir() if _is_case(path))
    except FileNotFoundError:
        raise UsageError(
            f"{inputs} does not exist; give a folder of NAME.npz cases, or mount one there."
        ) from None
    except OSError as error:
        raise UsageError(
            f"{inputs} cannot be read ({error.strerror}); give a readable folder or NAME.npz."
        ) from None
    if not found:
        raise UsageError(
            f"{inputs} holds no NAME.npz; put the cases directly into it, not into a folder below."
        )
    return found


def _is_case(path: Path) -> bool:
    """Whether a folder's entry counts: a file or a link, even a broken one, which then falls back visibly."""
    if path.suffix != SUFFIX or path.name[0] in ".~" or is_mask_file(path):
        return False
    return path.is_file() or _is_broken_link(path)


def _is_broken_link(path: Path) -> bool:
    """Whether the path is a link that leads nowhere."""
    return path.is_symlink() and not path.exists()


def _make_folder(folder: Path) -> None:
    """Make the folder of the outputs, parents included."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the output folder {folder} cannot be made ({error.strerror}); give another one."
        ) from None
