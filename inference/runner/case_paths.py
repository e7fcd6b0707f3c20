"""From the two paths of the command line to the cases: which file is read, and where its label map goes."""

import logging
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from vesal.inference.data.errors import UsageError
from vesal.inference.io.files import kind_of
from vesal.inference.io.formats import case_name, is_user_prompts_file, suffix_of, suffixes
from vesal.inference.io.temporary import check_writable
from vesal.inference.io.user_prompts import MARK

log = logging.getLogger("vesal")

OTHER_VOLUMES = (".npy", ".nii", ".nii.gz", ".nrrd", ".mha", ".mhd", ".dcm", ".tif", ".tiff", ".h5", ".zarr")
"""Ends of the names of volumes in formats that may not be read here."""
OTHERS_TOLD = 10


@dataclass(frozen=True)
class CasePaths:
    """One input file and the output file that belongs to it."""

    input: Path
    output: Path

    @property
    def name(self) -> str:
        """The case's name, the input's without its suffix."""
        return case_name(self.input)


def find_cases(inputs: Path, outputs: Path) -> tuple[CasePaths, ...]:
    """Pair every case with its output, sorted by name, and make the folder of the outputs.

    A folder gives the cases (`*.npz`, also `*.NPZ`) directly in it, without hidden and temporary ones (names
    that begin with `.` or `~`) and without user prompts (`NAME.prompt.npz` beside `NAME.npz`); a single file
    may go into a folder or to a name ending in .npz. Volumes in other formats are told. Raises UsageError
    where that cannot work.
    """
    cases = list_cases(inputs)
    single = suffix_of(outputs) is not None and not outputs.is_dir()
    if single and not inputs.is_file():
        raise UsageError(f"{inputs} is a folder but {outputs} names one file; give a folder for the outputs.")
    names = {case.name for case in cases}
    pairs = tuple(CasePaths(case, outputs if single else outputs / _label_map(case, names)) for case in cases)
    for pair in pairs:
        if os.path.realpath(pair.output) == os.path.realpath(pair.input):
            raise UsageError(
                f"{pair.output} would replace the case it is made from; give another output folder."
            )
        if pair.output.is_dir():
            raise UsageError(f"{pair.output} is a folder where the label map should go; remove or rename it.")
    _make_folder(outputs.parent if single else outputs)
    return pairs


def list_cases(inputs: Path) -> list[Path]:
    """Every case at `inputs`, a folder or a single file, sorted by name; at least one.

    The one definition of what is a case: the command, the scorer and the timing check go by it. What
    belongs to a case without being one is `io.formats.side_files`. Raises UsageError where there is none.
    """
    if inputs.is_file():
        if suffix_of(inputs) is None:
            kinds = " or ".join(suffixes())
            raise UsageError(f"{inputs} is not a {kinds} file; give a {_wanted()} or a folder of them.")
        return [inputs]
    try:
        entries = sorted(inputs.iterdir())
        found = [path for path in entries if _is_case(path)]
    except FileNotFoundError:
        raise UsageError(
            f"{inputs} does not exist; give a folder of {_wanted()} cases, or mount one there."
        ) from None
    except OSError as error:
        raise UsageError(
            f"{inputs} cannot be read ({error.strerror}); give a readable folder or {_wanted()}."
        ) from None
    if not found:
        raise UsageError(
            f"{inputs} holds no {_wanted()}; put the cases directly into it, not into a folder below."
        )
    _tell_others(entries)
    return found


def _tell_others(entries: Sequence[Path]) -> None:
    """Warn of files that look like volumes and are no cases here."""
    others = [p.name for p in entries if p.name.lower().endswith(OTHER_VOLUMES) and suffix_of(p) is None]
    others = [name for name in others if name[0] not in ".~" and f"{MARK}." not in name]
    if others:
        shown_names = ", ".join(ascii(name)[1:-1] for name in others[:OTHERS_TOLD])
        log.warning("%d files are no %s and are left out: %s", len(others), _wanted(), shown_names)


def _label_map(case: Path, names: Collection[str]) -> str:
    """Name of a case's label map: its own, the suffix in small letters where no other case has that name."""
    name = case_name(case) + (suffix_of(case) or case.suffix)
    return case.name if name in names else name


def _is_case(path: Path) -> bool:
    """Whether an entry is a case: a file or a link, also one that leads nowhere, which is then reported.

    What is named like a case and is none is told.
    """
    if suffix_of(path) is None or path.name[0] in ".~" or is_user_prompts_file(path):
        return False
    kind = kind_of(path)
    if kind is None or kind.startswith("a link"):
        return True
    log.warning("%s is %s and no case; it is skipped", path, kind)
    return False


def _wanted() -> str:
    """How files of cases are named: `NAME.npz`."""
    return " or ".join(f"NAME{suffix}" for suffix in suffixes())


def _make_folder(folder: Path) -> None:
    """Make the folder of the outputs, parents included, and see whether it can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the output folder {folder} cannot be made ({error.strerror}); give another one."
        ) from None
    try:
        check_writable(folder)
    except OSError as error:
        raise UsageError(
            f"no file can be written in the output folder {folder} ({error.strerror}) by the user "
            f"{os.getuid()}; give "
            "another one, open it (chmod 777), or run as its owner (--user of docker and podman)."
        ) from None
