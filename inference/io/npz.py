"""A case: one volume with spacing and prompts, checked once here so that nothing below has to check again."""

from pathlib import Path

import numpy as np

from vesal.inference.data.case import Case
from vesal.inference.data.errors import EmptyVolumeError, PromptFileError, SpacingError, VolumeShapeError
from vesal.inference.io.intensity import check_dtype, to_uint8
from vesal.inference.io.npz_archive import ArrayHeader, NpzArchive
from vesal.inference.io.plain_pickle import load_plain
from vesal.inference.io.prompt_files import Prompts, parse_prompts_dict, parse_prompts_json, read_prompts_file

# The challenge gives a container 32 GB; a volume of 8 GiB is the most that leaves room to work.
MAX_VOLUME_BYTES = 8 * 1024**3
MAX_SMALL_BYTES = 16 * 1024**2  # spacing and prompts; the challenge's have a few kilobytes


def read_case(path: Path, prompts_file: Path | None = None, dataset: str | None = None) -> Case:
    """Read NAME.npz of the challenge's format: `imgs` (D,H,W), `spacing` (x,y,z) in mm, `text_prompts`.

    Prompts come from `prompts_file`, else from NAME.json beside the case, else from `text_prompts`; the one
    chosen replaces the others whole, and the others are not read. `dataset` picks the entry of a file keyed
    by dataset. Other arrays of the npz are never touched. Every defect raises a `CaseError`.
    """
    path = Path(path)
    with NpzArchive(path) as archive:
        _check_volume_header(path.name, archive.header("imgs"))
        spacing_dhw_mm, spacing_notes = _read_spacing(archive)
        prompts = _find_prompts(archive, prompts_file, dataset)
        image, image_note = to_uint8(path.name, archive.read_array("imgs", MAX_VOLUME_BYTES))
    notes = (*((image_note,) if image_note else ()), *spacing_notes, *prompts.notes)
    known_dataset = prompts.dataset or dataset
    return Case(path.stem, image, spacing_dhw_mm, prompts.sentences, prompts.instance, known_dataset, notes)


def _check_volume_header(name: str, header: ArrayHeader) -> None:
    check_dtype(name, header.dtype)
    if len(header.shape) != 3:
        raise VolumeShapeError(
            f"{name}: 'imgs' has {len(header.shape)} axes, shape {header.shape}; three, (D,H,W), are wanted. "
            "Save one grey volume per file, without channel or time axis."
        )
    if 0 in header.shape:
        raise EmptyVolumeError(
            f"{name}: 'imgs' has shape {header.shape}, so no voxel; every axis must be 1 or longer."
        )


def _read_spacing(archive: NpzArchive) -> tuple[tuple[float, float, float], tuple[str, ...]]:
    """Return the spacing in array order. This is the one place that knows the file's order, (x,y,z)."""
    if "spacing" not in archive:
        return (1.0, 1.0, 1.0), ("no spacing given: taken as 1 mm along every axis",)
    name, header = archive.path.name, archive.header("spacing")
    wanted = "three positive lengths in mm, (x,y,z), are wanted. Save spacing=numpy.array([x, y, z])."
    if header.dtype.kind not in "iuf":
        raise SpacingError(f"{name}: 'spacing' has dtype {header.dtype}; {wanted}")
    if header.shape != (3,):
        raise SpacingError(f"{name}: 'spacing' has shape {header.shape}; {wanted}")
    x, y, z = (float(length) for length in archive.read_array("spacing", MAX_SMALL_BYTES))
    if not all(np.isfinite(length) and length > 0 for length in (x, y, z)):
        raise SpacingError(f"{name}: 'spacing' is ({x:g}, {y:g}, {z:g}); {wanted}")
    return (z, y, x), ()


def _find_prompts(archive: NpzArchive, prompts_file: Path | None, dataset: str | None) -> Prompts:
    beside = archive.path.with_suffix(".json")
    if prompts_file is not None:
        return read_prompts_file(Path(prompts_file), archive.path.stem, dataset)
    if beside.exists():
        return read_prompts_file(beside, archive.path.stem, dataset)
    if "text_prompts" not in archive:
        advice = f"Save the case with it, put {beside.name} beside the case, or give --prompts FILE."
        raise archive.missing("text_prompts", advice)
    return _prompts_of_npz(archive, f"{archive.path.name}, 'text_prompts'")


def _prompts_of_npz(archive: NpzArchive, source: str) -> Prompts:
    """Read `text_prompts`: a dict in an object array of one element, or the same as JSON text."""
    wanted = "numpy.array({'1': 'sentence', 'instance_label': 0}, dtype=object), or JSON text, is wanted."
    header, raw = archive.read_raw("text_prompts", MAX_SMALL_BYTES)
    if int(np.prod(header.shape, dtype=object)) != 1:
        raise PromptFileError(f"{source}: an array of shape {header.shape}; {wanted}")
    if header.dtype == object:
        content = load_plain(raw, source)
        is_wrapped = isinstance(content, list) and len(content) == 1  # an array of shape (1,), not ()
        return parse_prompts_dict(content[0] if is_wrapped else content, source)
    if header.dtype.kind in "US":
        try:
            text = np.frombuffer(raw, header.dtype)[0]
            text = text.decode() if isinstance(text, bytes) else str(text)
        except ValueError as error:
            raise PromptFileError(f"{source}: the text cannot be decoded ({error}); {wanted}") from error
        return parse_prompts_dict(parse_prompts_json(text, source), source)
    raise PromptFileError(f"{source}: an array of dtype {header.dtype}; {wanted}")
