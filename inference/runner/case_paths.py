"""From the two paths of the command line to the cases: which file is read, and where its label map goes."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vesal.inference.data.errors import UsageError
from vesal.inference.io.files import kind_of
from vesal.inference.io.formats import (
    case_name,
    is_case_folder,
    is_claimed,
    is_user_prompts_file,
    label_suffix,
    suffix_of,
    suffixes,
    written_suffixes,
)
from vesal.inference.io.prompt_files import Prompts
from vesal.inference.io.temporary import check_writable
from vesal.inference.io.user_prompts import MARK

log = logging.getLogger("vesal")

OTHER_VOLUMES = (".npy", ".hdr", ".img", ".dcm", ".h5", ".mgz", ".mnc", ".czi", ".lif")
"""Ends of the names of volumes in formats that may not be read here."""
OTHERS_TOLD = 10


@dataclass(frozen=True)
class CasePaths:
    """One input file and the output file that belongs to it."""

    input: Path
    output: Path
    asked: Prompts | None = None
    """What was asked for on the command line or in a table; None: as a file of prompts or the case says."""
    modality: str | None = None
    """As it was given there."""
    is_own: bool = False
    """Whether it is one of the user's own scans (`-i`), and not of the contract's folders."""

    @property
    def name(self) -> str:
        """The case's name, the input's without its suffix."""
        return case_name(self.input)


def find_cases(inputs: Path, outputs: Path, *, make: bool = True) -> tuple[CasePaths, ...]:
    """Pair every case with its output, sorted by name, and ``make`` the folder of the outputs.

    A folder gives the cases (`*.npz`, also `*.NPZ`, and the other formats of `io.formats`) directly in it,
    without hidden and temporary ones (names that begin with `.` or `~`) and without user prompts
    (`NAME.prompt.npz` beside `NAME.npz`). A folder that is a DICOM series is one case. A single case may go
    into a folder or to a name that ends like a label map. Volumes in other formats are told. Raises
    UsageError where that cannot work.
    """
    cases = list_cases(inputs)
    single = suffix_of(outputs) is not None and not outputs.is_dir()
    if single and suffix_of(outputs) not in written_suffixes():
        raise UsageError(f"{outputs}: label maps are {' or '.join(written_suffixes())}; name it so.")
    if single and not inputs.is_file() and not is_case_folder(inputs):
        raise UsageError(f"{inputs} is a folder but {outputs} names one file; give a folder for the outputs.")
    pairs = tuple(
        CasePaths(case, outputs if single else outputs / name)
        for case, name in zip(cases, _label_maps(cases), strict=True)
    )
    for pair in pairs:
        if os.path.realpath(pair.output) == os.path.realpath(pair.input):
            raise UsageError(
                f"{pair.output} would replace the case it is made from; give another output folder."
            )
        if pair.output.is_dir():
            raise UsageError(f"{pair.output} is a folder where the label map should go; remove or rename it.")
    if make:
        make_folder(outputs.parent if single else outputs)
    return pairs


def list_cases(inputs: Path) -> list[Path]:
    """Every case at `inputs`, a folder or a single file, sorted by name; at least one.

    The one definition of what is a case: the command, the scorer and the timing check go by it. What
    belongs to a case without being one is `io.formats.side_files`. Raises UsageError where there is none.
    """
    if inputs.is_file():
        if suffix_of(inputs) is None:
            raise UsageError(
                f"{inputs} is not a {', '.join(suffixes())} file; give such a case or a folder of them."
            )
        return [inputs]
    try:
        entries = sorted(inputs.iterdir())
        found = [path for path in entries if is_case(path)]
    except FileNotFoundError:
        raise UsageError(
            f"{inputs} does not exist; give a folder of {_wanted()} cases, or mount one there."
        ) from None
    except OSError as error:
        raise UsageError(
            f"{inputs} cannot be read ({error.strerror}); give a readable folder or {_wanted()}."
        ) from None
    if not found and is_case_folder(inputs):
        return [Path(os.path.abspath(inputs))]
    if not found:
        raise UsageError(
            f"{inputs} holds no {_wanted()}; put the cases directly into it, not into a folder below. "
            f"Other formats: {', '.join(suffixes()[1:])}, and folders with a DICOM series."
        )
    tell_others(other_volumes(entries))
    return found


def other_volumes(entries: Sequence[Path]) -> list[Path]:
    """Of the entries of a folder those that look like volumes and are no cases here."""
    volumes = [p for p in entries if p.name.lower().endswith(OTHER_VOLUMES)]
    others = [p for p in volumes if suffix_of(p) is None or not is_claimed(p)]
    headers = {p.stem for p in volumes if p.suffix.lower() == ".hdr"}
    others = [
        p for p in others if not (p.name.lower().endswith(".img") and p.name[: -len(".img")] in headers)
    ]
    return [p for p in others if p.name[0] not in ".~" and f"{MARK}." not in p.name]


def tell_others(others: Sequence[Path]) -> None:
    """Warn of `other_volumes`."""
    if others:
        shown_names = ", ".join(ascii(path.name)[1:-1] for path in others[:OTHERS_TOLD])
        log.warning("%d files are no cases in a format that is read: %s", len(others), shown_names)


def _label_maps(cases: Sequence[Path]) -> list[str]:
    """Names of the label maps of cases: their own, with the suffix that is written, in small letters.

    Where that is another case's, or its label map's, the whole name stands before the suffix.
    """
    names = {case.name for case in cases}
    given: list[str] = []
    for case in cases:
        suffix = label_suffix(case)
        name = case_name(case) + suffix
        if name != case.name and (name in names or name in given):
            name = case.name if suffix_of(case) == suffix else f"{case.name}.labels{suffix}"
        given.append(name)
    return given


def is_case(path: Path) -> bool:
    """Whether an entry is a case: a file or a link, also one that leads nowhere, which is then reported.

    What is named like a case and is none is told.
    """
    if path.name[0] in ".~" or is_user_prompts_file(path):
        return False
    if is_case_folder(path):
        return True
    if suffix_of(path) is None:
        return False
    kind = kind_of(path)
    if kind is None or kind.startswith("a link"):
        return is_claimed(path)
    log.warning("%s is %s and no case; it is skipped", path, kind)
    return False


def _wanted() -> str:
    """How cases of the first format are named: `NAME.npz`."""
    return f"NAME{suffixes()[0]}"


def make_folder(folder: Path) -> None:
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
