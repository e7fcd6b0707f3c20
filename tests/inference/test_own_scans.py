"""Real cases as scans that people have: NIfTI in three orientations and DICOM give what the npz gives."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.inference.fakes import read_output
from tests.inference.io.written_dicom import write_series
from vesal.inference.data.orientation import CANONICAL, AxisCodes, towards
from vesal.inference.io.file_axes import FileAxes
from vesal.inference.io.formats import read_case
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings

pytestmark = pytest.mark.slow

ORIENTATIONS: dict[str, AxisCodes] = {"LPS": ("S", "P", "L"), "RAS": ("S", "A", "R"), "PIR": ("R", "I", "P")}
"""(D,H,W), by the axes along (x,y,z)."""
CASES = ("CT_AMOS_amos_0018", "MR_LeftAtrium_native")


def dice(one: np.ndarray, other: np.ndarray) -> float:
    both = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / both if both else 1.0


def grid(shape: tuple[int, ...], spacing_dhw_mm: tuple[float, ...]) -> FileAxes:
    """Somewhere in a scanner, on the engine's axes."""
    d, h, w = spacing_dhw_mm
    affine = np.diag([-w, -h, d, 1.0])
    affine[:3, 3] = 120.0, 90.5, -310.25
    return FileAxes(shape, affine, CANONICAL)


def on_engine_axes(path: Path, axes: FileAxes) -> np.ndarray:
    """(D,H,W) of a label map in NIfTI, turned by nibabel, which has to lie on the grid."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    ras = axes.turned(towards(CANONICAL, ORIENTATIONS["RAS"]))
    np.testing.assert_allclose(image.affine, ras.affine, atol=1e-3)
    labels = np.asarray(image.dataobj).transpose()
    return towards(ORIENTATIONS["RAS"]).turn(labels)


@pytest.mark.parametrize("name", CASES)
def test_the_same_labels_from_every_kind_of_file(tmp_path: Path, shared: Path, name: str) -> None:
    """The same to the voxel: the engine sees the same volume. Dice would have 0.01 of room."""
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    source = shared / "cases" / "imgs" / f"{name}.npz"
    case = read_case(source)
    axes = grid(case.image.shape, case.spacing_dhw_mm)
    prompts = {**{str(i): text for i, text in case.sentences.items()}, "instance_label": int(case.instance)}
    inputs.mkdir()
    (inputs / f"{name}.npz").symlink_to(source)
    for orientation, codes in ORIENTATIONS.items():
        way = towards(CANONICAL, codes)
        volume = np.ascontiguousarray(way.turn(case.image))
        image = nibabel.Nifti1Image(volume.transpose(), axes.turned(way).affine)
        nibabel.save(image, inputs / f"{name}_{orientation}.nii.gz")
        (inputs / f"{name}_{orientation}.json").write_text(json.dumps(prompts))
    write_series(
        inputs / f"{name}_dicom",
        case.image.astype(np.uint16),
        axes,
        BitsStored=8,
        HighBit=7,
        Modality=name[:2],
    )
    (inputs / f"{name}_dicom.json").write_text(json.dumps(prompts))
    assert run(Settings(inputs, outputs, seconds=600.0)) == 0
    want = read_output(outputs / f"{name}.npz")
    with np.load(shared / "cases" / "gts" / f"{name}.npz") as archive:
        truth = archive["gts"]
    for kind in (*ORIENTATIONS, "dicom"):
        labels = on_engine_axes(outputs / f"{name}_{kind}.nii.gz", axes)
        for id_ in case.sentences:
            found, reference, true = (each == id_ for each in (labels, want, truth))
            assert abs(dice(found, true) - dice(reference, true)) <= 0.01
        np.testing.assert_array_equal(labels, want, err_msg=kind)
