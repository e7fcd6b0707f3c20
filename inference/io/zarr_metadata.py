"""What an OME-Zarr says of itself: levels, axes, lengths (OME-NGFF 0.4 and 0.5, Zarr 2 and 3)."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesal.inference.data.errors import FileFormatError
from vesal.inference.io.file_axes import MM_PER_UNIT
from vesal.inference.io.files import open_regular_file
from vesal.inference.io.limits import MAX_FILE_BYTES

CODECS = frozenset(
    (
        *("blosc", "zstd", "gzip", "zlib", "lz4", "lzma", "bz2", "shuffle", "delta", "bytes", "transpose"),
        *("sharding_indexed", "crc32c", "crc32", "adler32", "bitround", "fixedscaleoffset", "packbits"),
        *("vlen-utf8", "endian"),
    )
)
"""Those that turn bytes into numbers and do nothing else: others, as `pickle`, are refused unread."""

FIRST_IMAGE = "0"
"""Where converters of microscope formats put it, below a folder without an image of its own."""


@dataclass(frozen=True)
class Level:
    """One resolution."""

    path: str
    """Below the folder."""
    scale: tuple[float, ...] | None
    """For each axis, in its unit; None where it is not given."""


@dataclass(frozen=True)
class Multiscale:
    """The first image of the folder."""

    axes: tuple[str, ...]
    """Names, as `t c z y x`."""
    mm_per_unit: tuple[float | None, ...]
    """For each axis; None where there is no unit of length."""
    levels: tuple[Level, ...]
    """The finest first."""


def read_multiscale(folder: Path) -> Multiscale:
    """The metadata of a folder. Raises FileFormatError."""
    known, below = _of_image(folder), ""
    if "multiscales" not in known and (folder / FIRST_IMAGE).is_dir():
        known, below = _of_image(folder / FIRST_IMAGE), f"{FIRST_IMAGE}/"
    try:
        first = known["multiscales"][0]
        entries = [
            {"name": each} if isinstance(each, str) else each for each in first.get("axes", list("tczyx"))
        ]
        axes = tuple(str(each["name"]).lower() for each in entries)
        units = tuple(MM_PER_UNIT.get(str(each.get("unit", "")).lower()) for each in entries)
        levels = tuple(
            Level(below + _inside(folder, each["path"]), _scale(each)) for each in first["datasets"]
        )
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise FileFormatError(
            f"{folder.name}: no OME-Zarr image, its metadata have no 'multiscales' that is read ({error!r})."
        ) from error
    if not levels or len(axes) < 2 or axes[-2:] != ("y", "x"):
        raise FileFormatError(
            f"{folder.name}: axes {axes}, {len(levels)} levels; axes that end in y, x are wanted."
        )
    return Multiscale(axes, units, levels)


def check_codecs(array: Path) -> None:
    """Raise FileFormatError where an array of Zarr is packed by anything but plain compression."""
    content = _json(array / "zarr.json") or _json(array / ".zarray") or {}
    names = {str(name).removeprefix("numcodecs.").lower() for name in _codec_names(content)}
    if unknown := sorted(names - CODECS):
        raise FileFormatError(f"{array.name}: packed by {', '.join(unknown)}, which is not read here.")


def _codec_names(content: dict[str, Any]) -> Iterator[str]:
    parts = [content.get("compressor"), *(content.get("filters") or []), *(content.get("codecs") or [])]
    for part in filter(None, parts):
        if not isinstance(part, dict):
            yield str(part)
            continue
        yield str(part.get("id", part.get("name", "?")))
        inner = part.get("configuration")
        if isinstance(inner, dict):
            yield from _codec_names({"codecs": [*inner.get("codecs", []), *inner.get("index_codecs", [])]})


def _of_image(folder: Path) -> dict[str, Any]:
    """Attributes of an image, which version 0.5 has one level deeper."""
    attributes = _attributes(folder)
    inner = attributes.get("ome")
    return inner if isinstance(inner, dict) else attributes


def _attributes(folder: Path) -> dict[str, Any]:
    content = _json(folder / "zarr.json")
    found = content.get("attributes") if content else _json(folder / ".zattrs")
    if not isinstance(found, dict):
        raise FileFormatError(
            f"{folder.name}: no OME-Zarr, it has neither zarr.json nor .zattrs with attributes."
        )
    return found


def _json(path: Path) -> Any:
    """Content of a file, None where it is absent. Raises FileFormatError."""
    if not os.path.lexists(path):
        return None
    with open_regular_file(path) as file:
        text = file.read(MAX_FILE_BYTES + 1)
    try:
        if len(text) > MAX_FILE_BYTES:
            raise ValueError(f"more than {MAX_FILE_BYTES} bytes")
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FileFormatError(f"{path.parent.name}/{path.name}: no JSON that is read ({error}).") from error
    if not isinstance(content, dict):
        raise FileFormatError(f"{path.parent.name}/{path.name}: a dict is wanted.")
    return content


def _inside(folder: Path, path: Any) -> str:
    """A path below the folder. Raises FileFormatError."""
    if os.path.isabs(str(path)) or ".." in Path(str(path)).parts:
        raise FileFormatError(f"{folder.name}: the level {path!r} lies outside of the folder.")
    return str(path)


def _scale(dataset: dict[str, Any]) -> tuple[float, ...] | None:
    """Of a level's coordinateTransformations."""
    for each in dataset.get("coordinateTransformations", []):
        if each.get("type") == "scale":
            scale = tuple(float(value) for value in each["scale"])
            return scale if all(math.isfinite(value) and value > 0 for value in scale) else None
    return None
