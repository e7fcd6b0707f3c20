"""TIFF stacks of several programs, with their voxel size in and out."""

import importlib.util
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from tests.inference.fakes import Opener
from tests.inference.io.written import SHAPE, made_volume, with_prompts
from vesal.inference.data.errors import (
    CaseError,
    ColourError,
    FileFormatError,
    MissingPackageError,
    SeveralVolumesError,
)
from vesal.inference.io.formats import open_case, read_case
from vesal.inference.io.label_writer import write_label_map
from vesal.inference.io.read_options import ReadOptions
from vesal.inference.prompts.parser import parse_case
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings

MICROMETRES = (2.0, 0.5, 0.25)
MM = tuple(length / 1000 for length in MICROMETRES)


def ome(path: Path, volume: np.ndarray, axes: str = "ZYX", unit: str = "µm", factor: float = 1.0) -> Path:
    """As OME-TIFF, with lengths of ``MICROMETRES`` times a factor."""
    sizes = {f"PhysicalSize{axis}": length * factor for axis, length in zip("ZYX", MICROMETRES, strict=True)}
    units = {f"PhysicalSize{axis}Unit": unit for axis in "ZYX"}
    metadata: dict[str, Any] = {"axes": axes, **sizes, **units}
    tifffile.imwrite(path, volume, photometric="minisblack", ome=True, metadata=metadata)
    return with_prompts(path)


def imagej(path: Path, volume: np.ndarray, unit: str = "um") -> Path:
    resolution = (1 / MICROMETRES[2], 1 / MICROMETRES[1])
    metadata = {"axes": "ZYX", "spacing": MICROMETRES[0], "unit": unit}
    tifffile.imwrite(path, volume, imagej=True, resolution=resolution, metadata=metadata)
    return with_prompts(path)


@pytest.mark.parametrize(("unit", "factor"), [("µm", 1.0), ("nm", 1000.0), ("mm", 0.001)])
def test_ome(tmp_path: Path, unit: str, factor: float) -> None:
    case = read_case(ome(tmp_path / "a.ome.tif", made_volume("u2"), unit=unit, factor=factor))
    assert case.spacing_dhw_mm == pytest.approx(MM) and case.axis_codes is None
    assert case.stored is not None
    np.testing.assert_array_equal(case.stored.numbers, made_volume())


@pytest.mark.parametrize("unit", ["um", "micron", "\\u00B5m"])
def test_imagej(tmp_path: Path, unit: str) -> None:
    case = read_case(imagej(tmp_path / "a.tif", made_volume(), unit))
    assert case.spacing_dhw_mm == pytest.approx(MM)
    np.testing.assert_array_equal(case.image, made_volume())


def test_micrometres_say_that_it_is_microscopy(tmp_path: Path) -> None:
    path = imagej(tmp_path / "a.tif", made_volume())
    (tmp_path / "a.json").write_text('{"1": "nucleus"}')
    _, choice = parse_case(read_case(path))
    assert (choice.modality, choice.source) == ("Microscopy", "file")


def test_a_plain_stack(tmp_path: Path) -> None:
    """Its resolution has no length between slices; dots per inch of printers are none at all."""
    path = with_prompts(tmp_path / "a.tiff")
    tifffile.imwrite(
        path, made_volume(), photometric="minisblack", resolution=(100, 50), resolutionunit="CENTIMETER"
    )
    case = read_case(path)
    assert case.spacing_dhw_mm == pytest.approx((0.1, 0.2, 0.1)) and "no distance between slices" in " ".join(
        case.notes
    )
    tifffile.imwrite(
        path, made_volume(), photometric="minisblack", resolution=(300, 300), resolutionunit="INCH"
    )
    case = read_case(path)
    assert case.spacing_dhw_mm == (1.0, 1.0, 1.0) and "no voxel size" in " ".join(case.notes)
    np.testing.assert_array_equal(case.image, made_volume())
    tifffile.imwrite(path, made_volume(), photometric="minisblack", compression="zlib", byteorder=">")
    np.testing.assert_array_equal(read_case(path).image, made_volume())


def test_a_single_slice_and_a_truncated_list_of_pages(tmp_path: Path) -> None:
    path = with_prompts(tmp_path / "a.tif")
    tifffile.imwrite(path, made_volume()[0], photometric="minisblack")
    assert read_case(path).image.shape == (1, 6, 7)
    tifffile.imwrite(
        path, made_volume(), photometric="minisblack", metadata={"axes": "ZYX", "truncate": True}
    )
    np.testing.assert_array_equal(read_case(path).image, made_volume())


@pytest.mark.parametrize("axes", ["CZYX", "ZCYX", "TZCYX"])
def test_one_of_several_volumes(tmp_path: Path, axes: str) -> None:
    volumes = np.stack([made_volume() * 0, made_volume()])
    stored = volumes if axes[0] == "C" else np.moveaxis(volumes, 0, 1)
    path = ome(tmp_path / "a.ome.tif", stored[None] if axes[0] == "T" else stored, axes)
    with pytest.raises(SeveralVolumesError, match="2 volumes"):
        read_case(path)
    with open_case(path, ReadOptions(volume=1)) as reader:
        assert reader.shape == SHAPE
        np.testing.assert_array_equal(reader.read().image, made_volume())


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif", "a.ome.tiff", "a.tiff"])
def test_the_command_writes_labels_with_the_voxel_size(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    write = ome if ".ome" in name else imagej
    path = write(tmp_path / "in" / name, made_volume("u2"))
    assert run(Settings(tmp_path / "in", tmp_path / "out"), Opener()) == 0
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out" / name) == 3, made_volume() == 200)
    written = read_case(with_prompts(tmp_path / "out" / name))
    assert written.spacing_dhw_mm == pytest.approx(read_case(path).spacing_dhw_mm)


@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
def test_the_same_labels_give_the_same_bytes(tmp_path: Path, name: str) -> None:
    def written(dtype: str) -> bytes:
        write_label_map(tmp_path / name, made_volume(dtype))
        return (tmp_path / name).read_bytes()

    assert written("u1") == written("u1")
    labels = np.full(SHAPE, 70_000, np.uint32)
    write_label_map(tmp_path / name, labels)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / name), labels)
    write_label_map(tmp_path / name, np.broadcast_to(np.uint8(0), SHAPE))
    assert tifffile.imread(tmp_path / name).shape == SHAPE


def colours(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((5, 6, 7, 3), np.uint8), photometric="rgb")


def lie(path: Path) -> None:
    """ImageWidth of a million."""
    tifffile.imwrite(path, made_volume(), photometric="minisblack", metadata=None)
    content = path.read_bytes()
    path.write_bytes(
        content.replace(struct.pack("<HHII", 256, 4, 1, 7), struct.pack("<HHII", 256, 4, 1, 10**6))
    )
    assert path.read_bytes() != content


@pytest.mark.parametrize(
    ("breaks", "error", "said"),
    [
        (colours, ColourError, "RGB"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), FileFormatError, "no TIFF"),
        (lambda path: path.write_bytes(b"II*\0"), FileFormatError, "no TIFF"),
        (lambda path: path.write_bytes(b"text"), FileFormatError, "no TIFF"),
        (lie, CaseError, r"a\.tif"),
    ],
)
def test_broken_files_have_a_named_error(
    tmp_path: Path, breaks: Any, error: type[CaseError], said: str
) -> None:
    path = imagej(tmp_path / "a.tif", made_volume())
    breaks(path)
    with pytest.raises(error, match=said), open_case(path) as reader:
        assert reader.shape is None or len(reader.shape) == 3
        reader.read()


def test_a_compression_that_is_not_read_here_names_the_package(tmp_path: Path) -> None:
    """LZW, written without it: only the tag counts."""
    if importlib.util.find_spec("imagecodecs"):
        pytest.skip("imagecodecs is installed, which reads it")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((3, 4, 5), np.uint16), photometric="minisblack")
    raw = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tiff:
        for page in tiff.pages:
            raw[page.tags["Compression"].valueoffset] = 5
    path.write_bytes(bytes(raw))
    with_prompts(path)
    with pytest.raises(MissingPackageError, match=r"a\.tif: .*pip install imagecodecs, or save"):
        read_case(path)
