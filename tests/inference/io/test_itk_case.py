"""Cases in NRRD and MetaImage, written and read back by ITK."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.fakes import Opener
from tests.inference.io.written import ALL_CODES, SHAPE, SPACING, load, made_volume, stored_as, with_prompts
from vesal.inference.data.errors import (
    CaseError,
    ColourError,
    FileFormatError,
    SeveralVolumesError,
)
from vesal.inference.data.orientation import CANONICAL, AxisCodes
from vesal.inference.io.file_axes import LPS, FileAxes
from vesal.inference.io.formats import open_case, read_case
from vesal.inference.io.label_writer import write_label_map
from vesal.inference.io.read_options import ReadOptions
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings

itk = pytest.importorskip("SimpleITK", reason="an extra of formats")


def itk_image(volume: np.ndarray, axes: FileAxes) -> Any:
    """(D,H,W) on a grid."""
    image = itk.GetImageFromArray(volume)
    affine = LPS @ axes.affine
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(lengths.tolist())
    image.SetDirection((affine[:3, :3] / lengths).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def write(path: Path, volume: np.ndarray, codes: AxisCodes = CANONICAL) -> Path:
    itk.WriteImage(itk_image(*stored_as(codes, volume)), str(path))
    return with_prompts(path)


def same_grid(one: Any, other: Any) -> None:
    assert one.GetSize() == other.GetSize()
    for name in ("GetSpacing", "GetDirection", "GetOrigin"):
        np.testing.assert_allclose(getattr(one, name)(), getattr(other, name)(), atol=1e-5)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
@pytest.mark.parametrize("codes", ALL_CODES, ids="".join)
def test_round_trip(tmp_path: Path, codes: AxisCodes, suffix: str) -> None:
    volume = made_volume()
    path = write(tmp_path / f"a{suffix}", volume, codes)
    with open_case(path) as reader:
        assert reader.shape == SHAPE
        case = reader.read()
        np.testing.assert_array_equal(case.image, volume)
        assert case.spacing_dhw_mm == pytest.approx(SPACING) and case.axis_codes == CANONICAL
        write_label_map(tmp_path / f"labels{suffix}", (case.image == 200) * np.uint8(3), reader.header)
    source, written = itk.ReadImage(str(path)), itk.ReadImage(str(tmp_path / f"labels{suffix}"))
    same_grid(written, source)
    np.testing.assert_array_equal(itk.GetArrayFromImage(written) == 3, itk.GetArrayFromImage(source) == 200)


@pytest.mark.parametrize(
    ("name", "output"), [("a.nrrd", "a.nrrd"), ("a.mha", "a.mha"), ("a.mhd", "a.mha"), ("a.nhdr", "a.nrrd")]
)
def test_the_command_reads_and_writes_it(tmp_path: Path, name: str, output: str) -> None:
    (tmp_path / "in").mkdir()
    source = write(tmp_path / "in" / name, made_volume("i2"), ("L", "I", "A"))
    assert run(Settings(source, tmp_path / "out"), Opener()) == 0
    written = itk.ReadImage(str(tmp_path / "out" / output))
    same_grid(written, itk.ReadImage(str(source)))
    want, _ = stored_as(("L", "I", "A"), np.isin(made_volume(), 200))
    np.testing.assert_array_equal(itk.GetArrayFromImage(written) == 3, want)


def test_labels_of_any_format_in_any_other(tmp_path: Path) -> None:
    """The header of one reader does for every writer."""
    volume = made_volume()
    source = write(tmp_path / "a.nrrd", volume, ("A", "R", "I"))
    with open_case(source) as reader:
        for suffix in (".nii.gz", ".nii", ".mha", ".nrrd"):
            write_label_map(tmp_path / f"b{suffix}", volume.astype(np.uint16) * 300, reader.header)
            written = itk.ReadImage(str(tmp_path / f"b{suffix}"))
            same_grid(written, itk.ReadImage(str(source)))
            assert itk.GetArrayFromImage(written).max() == 60000
    np.testing.assert_allclose(load(tmp_path / "b.nii").affine, stored_as(("A", "R", "I"), volume)[1].affine)


def test_a_file_that_does_not_say_how_it_lies(tmp_path: Path) -> None:
    head = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 7 6 5\nspacings: 0.5 0.75 5\nencoding: raw\n\n"
    path = with_prompts(tmp_path / "a.nrrd")
    path.write_bytes(head + made_volume().tobytes())
    with open_case(path) as reader:
        case = reader.read()
        write_label_map(tmp_path / "labels.nrrd", case.image, reader.header)
    assert case.axis_codes is None and case.spacing_dhw_mm == SPACING
    np.testing.assert_array_equal(case.image, made_volume())
    assert b"space:" not in (tmp_path / "labels.nrrd").read_bytes().split(b"\n\n")[0]
    np.testing.assert_array_equal(
        itk.GetArrayFromImage(itk.ReadImage(str(tmp_path / "labels.nrrd"))), case.image
    )


def test_one_of_several_volumes(tmp_path: Path) -> None:
    images = [itk_image(*stored_as(CANONICAL, volume)) for volume in (made_volume() * 0, made_volume())]
    path = with_prompts(tmp_path / "a.nrrd")
    itk.WriteImage(itk.JoinSeries(images), str(path))
    with pytest.raises(SeveralVolumesError, match="2 volumes"):
        read_case(path)
    with open_case(path, ReadOptions(volume=1)) as reader:
        np.testing.assert_array_equal(reader.read().image, made_volume())


def header_with(line: bytes, other: bytes) -> Any:
    def change(path: Path) -> None:
        content = path.read_bytes()
        assert line in content
        path.write_bytes(content.replace(line, other))

    return change


def colours(path: Path) -> None:
    itk.WriteImage(itk.Compose([itk_image(*stored_as(CANONICAL, made_volume()))] * 3), str(path))


@pytest.mark.parametrize(
    ("breaks", "error", "said"),
    [
        (colours, ColourError, "RGB"),
        (lambda path: path.write_bytes(path.read_bytes()[:-60]), FileFormatError, "ITK cannot read"),
        (lambda path: path.write_bytes(b"no image"), FileFormatError, "ITK cannot read"),
        (header_with(b"DimSize = 7 6 5", b"DimSize = 1024 1024 1024"), FileFormatError, "ITK cannot read"),
        (header_with(b"DimSize = 7 6 5", b"DimSize = 30000 30000 30000"), CaseError, "at most"),
        (header_with(b"ElementSpacing = 0.5 0.75 5", b"ElementSpacing = 0.5 0 5"), CaseError, "a.mha"),
        (header_with(b"= LOCAL", b"= /etc/passwd"), FileFormatError, "same folder"),
        (header_with(b"= LOCAL", b"= ../other.raw"), FileFormatError, "same folder"),
    ],
)
def test_broken_files_have_a_named_error(
    tmp_path: Path, breaks: object, error: type[CaseError], said: str
) -> None:
    path = write(tmp_path / "a.mha", made_volume())
    breaks(path)
    with pytest.raises(error, match=said), open_case(path) as reader:
        assert reader.shape is None or np.prod(reader.shape) < 1 << 40
        reader.read()


def test_itk_is_named_where_it_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.mha", made_volume())
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    with pytest.raises(CaseError, match=r"SimpleITK.*FORMATS=all"), open_case(path) as reader:
        assert reader.shape is None
        reader.read()
