"""OME-Zarr of both versions: one level, by chunks."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.inference.fakes import Opener
from tests.inference.io.written import load, made_volume, with_prompts
from vesal.inference.data.errors import CaseError, FileFormatError, SeveralVolumesError, VolumeSizeError
from vesal.inference.io import zarr_case
from vesal.inference.io.formats import open_case, read_case
from vesal.inference.io.read_options import ReadOptions
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings

zarr = pytest.importorskip("zarr", reason="an extra of formats")
MICROMETRES = (2.0, 0.5, 0.25)


def write(
    folder: Path, levels: list[np.ndarray], axes: str = "zyx", version: int = 2, unit: str = "micrometer"
) -> Path:
    """Levels, each half as fine as the one before, in chunks of 2 x 3 x 3."""
    datasets = []
    group = zarr.open_group(str(folder), mode="w", zarr_format=version)
    for number, stored in enumerate(levels):
        chunks = (*[1] * (stored.ndim - 3), 2, 3, 3)
        array = group.create_array(str(number), shape=stored.shape, chunks=chunks, dtype=stored.dtype)
        array[...] = stored
        scale = [*[1.0] * (stored.ndim - 3), *(length * 2**number for length in MICROMETRES)]
        datasets.append(
            {"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
        )
    kinds = {"t": "time", "c": "channel"}
    entries = [
        {"name": a, "type": kinds.get(a, "space"), **({"unit": unit} if a in "zyx" else {})} for a in axes
    ]
    multiscales = [{"axes": entries, "datasets": datasets}]
    group.attrs.update(
        {"multiscales": multiscales} if version == 2 else {"ome": {"multiscales": multiscales}}
    )
    return with_prompts(folder)


@pytest.mark.parametrize("version", [2, 3])
def test_both_versions(tmp_path: Path, version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zarr_case, "PORTION_BYTES", 100)  # two slices at a time
    volume = made_volume("u2")
    path = write(tmp_path / "a.ome.zarr", [volume, volume[::2, ::2, ::2]], version=version)
    with open_case(path) as reader:
        case = reader.read()
        assert reader.shape == volume.shape
    assert case.name == "a" and case.spacing_dhw_mm == pytest.approx([um / 1000 for um in MICROMETRES])
    assert case.stored is not None and case.modality == "Microscopy"
    np.testing.assert_array_equal(case.stored.numbers, volume)
    assert "level 0 of 2 is taken" in " ".join(case.notes)


def test_the_level_that_is_asked_for_or_the_finest_that_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = made_volume()
    path = write(tmp_path / "a.zarr", [volume, volume[::2, ::2, ::2]])
    with open_case(path, ReadOptions(level=1)) as reader:
        case = reader.read()
        np.testing.assert_array_equal(case.image, volume[::2, ::2, ::2])
        assert case.spacing_dhw_mm == pytest.approx([um / 500 for um in MICROMETRES])
    with (
        pytest.raises(FileFormatError, match="level 2 is wanted"),
        open_case(path, ReadOptions(level=2)) as reader,
    ):
        reader.read()

    def check(name: str, shape: tuple[int, ...], *_: Any) -> None:
        if np.prod(shape) > most:
            raise VolumeSizeError("too large")

    monkeypatch.setattr(zarr_case, "check_volume", check)
    most = 100
    assert read_case(path).image.shape == (3, 3, 4)
    most = 1
    with pytest.raises(VolumeSizeError):
        read_case(path)


def test_no_more_is_read_than_the_volume(tmp_path: Path) -> None:
    """Chunks of other channels and levels may even be broken."""
    volumes = np.stack([made_volume() + 1, made_volume()])
    path = write(tmp_path / "a.zarr", [volumes, volumes[:, ::2, ::2, ::2]], axes="czyx")
    with pytest.raises(SeveralVolumesError, match="2 volumes"):
        read_case(path)
    for chunk in [*(path / "0").glob("0.*"), *(path / "1").glob("?.*")]:
        chunk.write_bytes(b"broken")
    with open_case(path, ReadOptions(volume=1)) as reader:
        np.testing.assert_array_equal(reader.read().image, made_volume())
    with (
        pytest.raises(FileFormatError, match="level 0 cannot be read"),
        open_case(path, ReadOptions(volume=0)) as reader,
    ):
        reader.read()


def test_the_command_writes_nifti_in_micrometres(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.zarr", [made_volume()])
    assert run(Settings(tmp_path / "in", tmp_path / "out"), Opener()) == 0
    written = load(tmp_path / "out" / "a.nii.gz")
    assert written.header.get_zooms() == MICROMETRES[::-1] and written.header.get_xyzt_units()[0] == "micron"
    np.testing.assert_array_equal(np.asarray(written.dataobj).transpose() == 3, made_volume() == 200)
    assert int(written.header["sform_code"]) == int(written.header["qform_code"]) == 0


def test_an_image_one_folder_deeper(tmp_path: Path) -> None:
    """As converters of microscope formats write it."""
    write(tmp_path / "a.zarr" / "0", [made_volume()])
    (tmp_path / "a.zarr" / ".zattrs").write_text('{"bioformats2raw.layout": 3}')
    np.testing.assert_array_equal(read_case(with_prompts(tmp_path / "a.zarr")).image, made_volume())


def with_attributes(**changes: Any) -> Any:
    def change(path: Path) -> None:
        content = json.loads((path / ".zattrs").read_text())
        content["multiscales"][0] |= changes
        (path / ".zattrs").write_text(json.dumps(content))

    return change


def with_array(**changes: Any) -> Any:
    def change(path: Path) -> None:
        content = json.loads((path / "0" / ".zarray").read_text())
        (path / "0" / ".zarray").write_text(json.dumps(content | changes))

    return change


BROKEN = {
    "no metadata": (lambda path: (path / ".zattrs").unlink(), "no OME-Zarr"),
    "no JSON": (lambda path: (path / ".zattrs").write_text("{"), "no JSON"),
    "deep JSON": (lambda path: (path / ".zattrs").write_text("[" * 100_000), "no JSON"),
    "no array": (lambda path: shutil.rmtree(path / "0"), "level 0 cannot be read"),
    "a pickle": (with_array(filters=[{"id": "pickle", "protocol": 4}]), "packed by pickle"),
    "a pickle as compressor": (with_array(compressor={"id": "pickle"}), "packed by pickle"),
    "axes": (with_attributes(axes=[{"name": "x"}, {"name": "y"}]), "end in y, x"),
    "outside": (with_attributes(datasets=[{"path": "../other"}]), "outside"),
    "zero scale": (
        with_attributes(
            datasets=[{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 0, 1]}]}]
        ),
        None,
    ),
    "a huge chunk": (with_array(chunks=[10_000, 10_000, 10_000]), "a chunk of level 0"),
    "a lie": (with_array(shape=[100_000, 100_000, 100_000]), "at most"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_broken_ones_have_a_named_error_or_a_note(tmp_path: Path, what: str) -> None:
    breaks, said = BROKEN[what]
    path = write(tmp_path / "a.zarr", [made_volume()])
    breaks(path)
    if said is None:
        assert "no scale is given" in " ".join(read_case(path).notes)
        return
    with pytest.raises(CaseError, match=said), open_case(path) as reader:
        assert reader.shape is None
        reader.read()
