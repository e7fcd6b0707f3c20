"""What other programs read in label maps: names, colours, geometry."""

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from tests.inference.runner.own_scans import AFFINE, BoxOpener, nifti, volume, write_scan
from vesal.inference.data.colours import PALETTE
from vesal.inference.io.file_axes import axes_of_affine
from vesal.inference.io.formats import open_case
from vesal.inference.io.label_names import label_names
from vesal.inference.io.probability_writer import write_probability
from vesal.inference.runner.arguments import read_settings
from vesal.inference.runner.run import run

ASKED = ("liver", 'the "big" one, <left> & odd')


def segmented(scan: Path, *more: str) -> Path:
    assert run(read_settings(["-i", str(scan), "-p", *ASKED, *more], {}), BoxOpener()) == 0
    (labels,) = (p for p in scan.parent.iterdir() if p.name.startswith("a_seg.") and p.suffix in SUFFIXES)
    return labels


SUFFIXES = (".gz", ".nii", ".nrrd", ".mha")


def write_itk(path: Path) -> Path:
    itk = pytest.importorskip("SimpleITK", reason="an extra of formats")
    write_scan(path.with_name("source.nii.gz"))
    itk.WriteImage(itk.ReadImage(str(path.with_name("source.nii.gz"))), str(path))
    path.with_name("source.nii.gz").unlink()
    return path


def test_names_and_colours_in_nifti(tmp_path: Path) -> None:
    """The extension that TotalSegmentator writes and reads."""
    image = nifti(segmented(write_scan(tmp_path / "a.nii.gz")))
    (extension,) = image.header.extensions
    assert extension.get_code() == 0
    table = ElementTree.fromstring(extension.get_content().rstrip(b"\0"))
    rows = {int(label.get("Key", "")): label for label in table.iter("Label")}
    assert [rows[value].text for value in (0, 1, 2)] == ["background", *ASKED]
    for value in (1, 2):
        colour = [round(255 * float(rows[value].get(name, ""))) for name in ("Red", "Green", "Blue")]
        assert tuple(colour) == PALETTE[value - 1]
    assert image.header.get_intent()[0] == "label"
    np.testing.assert_allclose(image.affine, AFFINE)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_geometry_as_itk_reads_it(tmp_path: Path, suffix: str) -> None:
    itk = pytest.importorskip("SimpleITK", reason="an extra of formats")
    scan = write_itk(tmp_path / f"a{suffix}")
    image, labels = itk.ReadImage(str(scan)), itk.ReadImage(str(segmented(scan)))
    for name in ("GetSize", "GetSpacing", "GetDirection", "GetOrigin"):
        np.testing.assert_allclose(getattr(labels, name)(), getattr(image, name)(), atol=1e-5)
    found = itk.GetArrayFromImage(labels)
    np.testing.assert_array_equal(found, (volume() > 100) * np.uint8(2) - (volume() > 200))


def test_names_and_colours_in_nrrd(tmp_path: Path) -> None:
    """The fields of 3D Slicer's segmentations."""
    itk = pytest.importorskip("SimpleITK", reason="an extra of formats")
    labels = itk.ReadImage(str(segmented(write_itk(tmp_path / "a.nrrd"))))
    for place, name in enumerate(ASKED):
        assert labels.GetMetaData(f"Segment{place}_Name") == name
        assert labels.GetMetaData(f"Segment{place}_LabelValue") == str(place + 1)
        colour = [round(255 * float(part)) for part in labels.GetMetaData(f"Segment{place}_Color").split()]
        assert tuple(colour) == PALETTE[place]


def test_colour_table_of_slicer(tmp_path: Path) -> None:
    """Six columns: value, a name without blanks, four numbers."""
    segmented(write_scan(tmp_path / "a.nii.gz"))
    lines = (tmp_path / "a_seg.ctbl").read_text(encoding="utf-8").splitlines()
    rows = [line.split(" ") for line in lines if not line.startswith("#")]
    assert [len(row) for row in rows] == [6, 6, 6]
    assert [row[0] for row in rows] == ["0", "1", "2"] and rows[1][1] == "liver"
    assert tuple(map(int, rows[2][2:])) == (*PALETTE[1], 255)


def test_label_file_of_itk_snap(tmp_path: Path) -> None:
    """Seven numbers and a name in quotation marks, of which it has two."""
    segmented(write_scan(tmp_path / "a.nii.gz"))
    lines = (tmp_path / "a_seg.label").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if not line.startswith("#")]
    numbers, name, end = rows[2].split('"')
    assert list(map(int, numbers.split())) == [2, *PALETTE[1], 1, 1, 1]
    assert name == ASKED[1].replace('"', "'") and end == ""


def test_names_are_one_line_and_none_comes_twice() -> None:
    names = [each.name for each in label_names({1: "a\nb\tc", 2: "tumor", 3: "tumor", 4: "\x00"})]
    assert names == ["a b c", "tumor", "tumor (2)", "target 4"]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize(("kind", "scale", "atol"), [("uint8", 255, 0.002), ("float16", 1, 0.0005)])
def test_probabilities_read_back(tmp_path: Path, suffix: str, kind: str, scale: int, atol: float) -> None:
    itk = pytest.importorskip("SimpleITK", reason="an extra of formats")
    axes, _ = axes_of_affine("a", (6, 8, 10), AFFINE)
    values = np.random.default_rng(0).random(axes.engine_shape, np.float32)
    path = tmp_path / f"p{suffix}"
    write_probability(path, values, axes, kind)
    image = itk.ReadImage(str(path))
    found = itk.GetArrayFromImage(image).astype(np.float64) / scale
    np.testing.assert_allclose(axes.orientation.turn(found), values, atol=atol)
    np.testing.assert_allclose(image.GetSpacing(), (0.5, 0.75, 4.0), atol=1e-5)


def test_probabilities_in_npz(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((3, 4, 5), np.float32)
    write_probability(tmp_path / "p.npz", values, None, "float16")
    with np.load(tmp_path / "p.npz") as archive:
        assert archive["segs"].dtype == np.float16
        np.testing.assert_array_equal(archive["segs"], values.astype(np.float16))


def test_masks_and_probabilities_are_those_of_python(tmp_path: Path, shared: Path) -> None:
    """The command on a real case, and `Model.segment`."""
    import vesal

    case = shared / "cases" / "imgs" / "MR_LeftAtrium_native.npz"
    asked = ["left atrium", "heart"]
    line = ["-i", str(case), "-o", str(tmp_path), "-p", *asked, "--separate", "--probabilities", "float16"]
    assert run(read_settings([*line, "--threads", "2"], {})) == 0
    with open_case(case) as reader:
        volume_ = reader.read()
    result = vesal.load(threads=2).segment(volume_.image, volume_.spacing_dhw_mm, asked)
    stem = tmp_path / "MR_LeftAtrium_native_seg"
    content = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
    assert result.mask(0).any()
    for i, prompt in enumerate(content["prompts"]):
        mask = np.load(stem / f"{prompt['file']}.npz")["segs"]
        np.testing.assert_array_equal(mask, result.mask(i))
        probability = np.load(stem / f"{prompt['file']}_probability.npz")["segs"]
        np.testing.assert_allclose(probability, result.probability(i), atol=0.001)
    np.testing.assert_array_equal(np.load(stem.with_suffix(".npz"))["segs"], result.labels)


@pytest.mark.parametrize("name", ["a.ome.tif", "a.tif"])
def test_microscopy_stacks(tmp_path: Path, name: str) -> None:
    """The label map, masks and probabilities of a stack are stacks."""
    tifffile = pytest.importorskip("tifffile", reason="an extra of formats")
    metadata = {"axes": "ZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2.0}
    metadata |= {f"PhysicalSize{axis}Unit": "um" for axis in "XYZ"}
    if ".ome" in name:
        tifffile.imwrite(tmp_path / name, volume(), ome=True, metadata=metadata)
    else:
        imagej = {"axes": "ZYX", "spacing": 2.0, "unit": "um"}
        tifffile.imwrite(tmp_path / name, volume(), imagej=True, metadata=imagej)
    line = ["-i", str(tmp_path / name), "-p", "cell nucleus", "--separate", "--modality", "Microscopy"]
    assert run(read_settings(line, {}), BoxOpener()) == 0
    written = name.replace("a.", "a_seg.", 1)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / written), volume() > 100)
    mask = tmp_path / "a_seg" / name.replace("a.", "1_cell_nucleus.", 1)
    np.testing.assert_array_equal(tifffile.imread(mask), volume() > 100)
    with open_case(tmp_path / name) as reader:
        values = np.random.default_rng(0).random((6, 8, 10), np.float32)
        for kind, scale in (("uint8", 255), ("float16", 1)):
            write_probability(tmp_path / f"p{name[1:]}", values, reader.header, kind)
            found = tifffile.imread(tmp_path / f"p{name[1:]}") / scale
            np.testing.assert_allclose(found, values, atol=0.002)
