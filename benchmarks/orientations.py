"""Cases as npz and as NIfTI in several orientations: `python -m benchmarks.orientations CASES`.

CASES holds `imgs/NAME.npz` and `gts/NAME.npz`. An npz does not say how it lies, and is segmented as it is
stored. Each case is written as NIfTI that says of the same array (x,y,z) that it is LPS, RAS or LAS, its
voxels stored along each of three sets of axes (which must give the engine one volume), and is segmented.
A row for each prompt, or one for all objects: Dice of the npz and of each file. The last column is what the
array is in truth, where its labels tell it: the engine turns it as the file says, and a file that says
something else shows the patient mirrored or upside down.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np

from vesal.evaluation.metrics import dice
from vesal.inference.api import Model, load
from vesal.inference.data.case import Case
from vesal.inference.data.orientation import OPPOSITE, AxisCodes, towards
from vesal.inference.io.file_axes import GROWS, SHRINKS
from vesal.inference.io.formats import read_case
from vesal.inference.runtime.machine import processor

CLAIMS: dict[str, AxisCodes] = {"LPS": ("S", "P", "L"), "RAS": ("S", "A", "R"), "LAS": ("S", "A", "L")}
"""What is said of the array's (D,H,W), by the axes along (x,y,z)."""
STORED: tuple[AxisCodes, ...] = (("S", "P", "L"), ("S", "A", "R"), ("R", "I", "P"))
"""Axes (D,H,W) that the voxels are stored along."""
LANDMARKS = (
    ("right kidney", "left kidney", "L"),
    ("liver", "spleen", "L"),
    ("urinary bladder", "liver", "S"),
    ("left kidney", "liver", "S"),
    ("left kidney", "stomach", "A"),
    ("right kidney", "pancreas", "A"),
)
"""From the first target's centre to the second's the body runs in this direction."""
MIN_VOXELS = 5.0
"""Distance of two centres along an axis that says something."""
Scores = dict[str, float]


def main(arguments: list[str] | None = None) -> int:
    """Run all cases and print the table; 1 where the order in which voxels are stored changes the volume."""
    parser = argparse.ArgumentParser("python -m benchmarks.orientations", description=__doc__.split("\n")[0])
    parser.add_argument("cases", type=Path, help="folder with imgs/ and gts/")
    parser.add_argument("--only", action="append", default=[], help="name of a case; may be repeated")
    parser.add_argument("--weights", default="nano")
    options = parser.parse_args(arguments)
    model = load(options.weights)
    print(f"{processor()}\n\n| case | target | npz | {' | '.join(f'said {c}' for c in CLAIMS)} | true |")
    print("|---|---|---|" + "---|" * (len(CLAIMS) + 1))
    for path in sorted((options.cases / "imgs").glob("*.npz")):
        if not options.only or path.stem in options.only:
            with np.load(options.cases / "gts" / path.name) as archive:
                print("\n".join(rows(model, path, archive["gts"])), flush=True)
    return 0


def rows(model: Model, path: Path, truth: np.ndarray) -> Iterator[str]:
    """Lines of one case, the mean of its targets last."""
    case = read_case(path)
    names = {prompt.id: prompt.target or prompt.text for prompt in model.understand(case)[0]}
    npz = scores(model.segment_file(path).labels, truth, names, case.instance)
    files = [scores(_labels(model, case, codes), truth, names, case.instance) for codes in CLAIMS.values()]
    known = true_axes(truth, names, case.instance)
    for name in npz:
        cells = [npz[name], *(each[name] for each in files)]
        yield f"| {path.stem} | {name} | {' | '.join(f'{value:.3f}' for value in cells)} | |"
    means = [float(np.mean(list(each.values()))) for each in (npz, *files)]
    yield f"| {path.stem} | mean | {' | '.join(f'{value:.4f}' for value in means)} | {known} |"


def scores(labels: np.ndarray, truth: np.ndarray, names: Mapping[int, str], instance: bool) -> Scores:
    """Dice by target, of those that the truth has; of all objects together where they have labels."""
    if instance:
        return {"all objects": dice(labels > 0, truth > 0)}
    return {name: dice(labels == id_, truth == id_) for id_, name in names.items() if (truth == id_).any()}


def true_axes(truth: np.ndarray, names: Mapping[int, str], instance: bool) -> str:
    """Directions in which x, y and z grow, as labelled landmarks tell; `?` where they do not, or disagree."""
    ids = {} if instance else {name: id_ for id_, name in names.items() if (truth == id_).any()}
    centres = {name: np.argwhere(truth == id_).mean(axis=0) for name, id_ in ids.items()}
    found: dict[int, set[str]] = {}
    for first, second, code in LANDMARKS:
        if first in centres and second in centres:
            axis = {"S": 0, "A": 1, "L": 2}[code]  # of arrays that are stored slice by slice, as npz are
            apart = (centres[second] - centres[first])[axis]
            if abs(apart) >= MIN_VOXELS * (axis > 0):
                found.setdefault(axis, set()).add(code if apart > 0 else OPPOSITE[code])
    return "".join(found[axis].pop() if len(found.get(axis, ())) == 1 else "?" for axis in (2, 1, 0))


def affine_of(codes: AxisCodes, spacing_dhw_mm: Sequence[float]) -> np.ndarray:
    """(4,4) to RAS mm of an array (D,H,W) whose axes grow so."""
    affine = np.eye(4)
    affine[:3, :3] = 0.0
    for axis, code in enumerate(codes):
        line = (GROWS if code in GROWS else SHRINKS).index(code)
        affine[line, 2 - axis] = spacing_dhw_mm[axis] * (1.0 if code in GROWS else -1.0)
    return affine


def _labels(model: Model, case: Case, codes: AxisCodes) -> np.ndarray:
    """Labels (D,H,W) on the array's own axes, of a file that says that it lies so."""
    with tempfile.TemporaryDirectory() as folder:
        files = [_write(Path(folder), case, codes, stored) for stored in STORED]
        seen = [read_case(file).image for file in files]
        if not all(np.array_equal(seen[0], other) for other in seen[1:]):
            sys.exit(f"{case.name}: the order in which voxels are stored changes what the engine sees")
        labels = model.segment_file(files[0]).labels
    return towards(STORED[0], codes).turn(labels)


def _write(folder: Path, case: Case, codes: AxisCodes, stored: AxisCodes) -> Path:
    """The case as NIfTI that says ``codes`` of the array, its voxels stored along other axes."""
    way = towards(codes, stored)
    volume = way.turn(case.image)
    path = folder / f"{case.name}_{''.join(stored)}.nii.gz"
    affine = affine_of(stored, way.axes(case.spacing_dhw_mm))
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(volume).transpose(), affine), path)
    prompts = {**{str(i): s for i, s in case.sentences.items()}, "instance_label": int(case.instance)}
    path.with_name(path.name.removesuffix(".nii.gz") + ".json").write_text(json.dumps(prompts))
    return path


if __name__ == "__main__":
    sys.exit(main())
