"""What the official script would trip over: the image's name, predict.sh, and the output of a case."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vesal.evaluation.engines import Engine
from vesal.evaluation.errors import PredictionError
from vesal.evaluation.files import PREDICTION_KEY, as_labels
from vesal.inference.data.errors import CaseError
from vesal.inference.io.npz_archive import NpzArchive

# What dash accepts as a word and then fails on, or takes for something else. `sh -n` finds the rest.
BASH_ONLY = {
    r"\[\[\s": "[[ ]] (use [ ])",
    r"^\s*source\s": "source (use .)",
    r"^\s*function\s": "function (use name() { })",
    r"pipefail": "set -o pipefail",
    r"&>": "&> (use >file 2>&1)",
    r"<<<": "<<< (use a here-document)",
    r"^\s*(declare|typeset)\s": "declare",
    r"\$'": "$'...'",
    r"\$\{[A-Za-z_]\w*\[": "arrays",
    r"\$\{BASH_|\$BASH_": "BASH_ variables",
    r"\[[^\]]*==": "== (use =)",
}


@dataclass(frozen=True)
class Check:
    """One thing looked at."""

    name: str
    ok: bool
    detail: str


def check_image_name(image: str) -> Check:
    """Check that the official script, which goes by the archive's name, would run this image.

    It takes the archive's file name up to the first dot, in lower case, as team, image `TEAM:latest` and
    name of the container.
    """
    bare = image.removeprefix("localhost/")
    name, _, tag = bare.partition(":")
    if "/" in name:
        return Check("image name", False, f"{image}: a registry or folder in front; tag it as TEAM:latest")
    if tag not in ("", "latest"):
        return Check("image name", False, f"{image}: the tag is {tag}; the script runs {name}:latest")
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
        wanted = "small letters, digits, _ and - (the script lowers the archive's name and cuts it at a dot)"
        return Check("image name", False, f"{name}: wanted {wanted}")
    return Check("image name", True, f"save it as {name}.tar.gz")


def check_script(engine: Engine, script: str = "predict.sh") -> list[Check]:
    """Check that /bin/bash and a POSIX predict.sh are where the submission runs."""
    code, text = engine.shell(f"cat {script}")
    if code != 0:
        return [Check(script, False, f"not found in the working folder: {text.strip()[-200:]}")]
    checks = [check_posix(text, script)]
    code, output = engine.shell(f"sh -n {script}")
    checks.append(Check(f"sh -n {script}", code == 0, output.strip()[-200:] or "no syntax error"))
    return checks


def check_posix(text: str, script: str = "predict.sh") -> Check:
    """Check the text of a script for what dash, the `sh` of Debian's images, does not know."""
    name = f"{script} is POSIX"
    if "\r" in text:
        return Check(name, False, "it has Windows line ends; sh reads \\r as part of each word")
    for number, line in enumerate(text.splitlines(), start=1):
        code = re.sub(r"(^|\s)#.*", "", line)
        found = [what for pattern, what in BASH_ONLY.items() if re.search(pattern, code)]
        if found:
            return Check(name, False, f"line {number}: {', '.join(found)} is bash, not sh")
    return Check(name, True, "no bash in it")


def output_problems(path: Path, shape: tuple[int, ...]) -> list[str]:
    """Return what the official script would trip over in the output of one case; empty when all is well."""
    if not path.is_file():
        others = ", ".join(sorted(p.name for p in path.parent.glob("*"))[:5]) or "nothing"
        return [f"no {path.name} in the output folder ({others} there); every later case would be lost"]
    try:
        with NpzArchive(path) as archive:
            header = archive.header(PREDICTION_KEY)
            if header.dtype.hasobject:
                return [f"'{PREDICTION_KEY}' is an object array; save it as unsigned integers"]
            stored = archive.read_array(PREDICTION_KEY, max_bytes=8 << 30)
        return _map_problems(stored, shape)
    except CaseError as error:
        return [f"unreadable: {error}"]


def _map_problems(stored: np.ndarray, shape: tuple[int, ...]) -> list[str]:
    problems = []
    if stored.shape != tuple(shape):
        problems.append(f"shape {stored.shape}, the input has {tuple(shape)}")
    try:
        labels = as_labels(stored, f"'{PREDICTION_KEY}'")
    except PredictionError as error:
        return [*problems, str(error)]
    highest = int(labels.max(initial=0))
    if highest > 255:
        problems.append(f"labels up to {highest}; the script casts to uint8, so ids over 255 wrap around")
    return problems
