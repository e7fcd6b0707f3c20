"""Volumes on disk as Blosc2 arrays, mapped into memory: read in parts, shared by all processes.

The challenge's npz files are compressed whole, so a crop would cost the whole volume. They are unpacked once,
in chunks, with what must be known without reading them (``store.Place``). A shelf is made anew when its
sources change. Where there is no Blosc2, and in what was carried from elsewhere (``pack.py``), a volume is an
npz with ``image`` and ``labels``, and lies in memory whole once it is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vesal.inference.geometry.views import Box, triple
from vesal.inference.runtime.threads import in_parallel
from vesal.training.bar import tqdm
from vesal.training.store import Place, SetRule, Target, Volume, read_volume

FORMAT = 4
INDEX = "index.json"
CHUNK = 64
"""Most voxels a side of a chunk: a view's box then reads little more than it needs."""


@dataclass(frozen=True)
class Source:
    """What a shelf is made of: its key says whether it must be made again."""

    key: str
    volumes: Iterable[Volume]


def files(paths: Sequence[Path]) -> Source:
    """Labelled npz files as a source, with all their targets; their names and sizes make the key."""
    said = [[p.parent.name, p.name, p.stat().st_size] for p in paths]
    return Source(_digest(said), (read_volume(p) for p in paths))


def fill(folder: Path, source: Source, unlabelled: bool = False) -> None:
    """Write all volumes of ``source`` that have a target to ``folder``, unless they are there already.

    ``unlabelled``: those without a target too.
    """
    index = folder / INDEX
    if index.exists():
        content = json.loads(index.read_text())
        if (content["key"], content["format"]) == (source.key, FORMAT):
            return
    folder.mkdir(parents=True, exist_ok=True)
    index.unlink(missing_ok=True)  # a shelf that is half filled has none
    volumes = tqdm(source.volumes, desc=f"filling {folder.name}", unit="volume", disable=None)
    entries = [_put(folder, v) for v in volumes if v.targets or unlabelled]
    whole = index.with_suffix(".tmp")
    whole.write_text(index_text(source.key, entries))
    whole.replace(index)


def index_text(key: str, entries: Sequence[dict[str, Any]]) -> str:
    """What says that a shelf is filled: with what, and from a source with which key."""
    return json.dumps({"key": key, "format": FORMAT, "volumes": list(entries)})


def key_of(folder: Path) -> str:
    """Of the source that a shelf was filled from."""
    return str(json.loads((folder / INDEX).read_text())["key"])


def read(
    folder: Path, rules: Mapping[str, SetRule], unlabelled: bool = False, whole: bool = False
) -> list[Volume]:
    """The volumes of a filled shelf that the rules leave a target; Blosc2 arrays stay on disk.

    ``unlabelled``: those without a target too. ``whole``: arrays are read into memory, for several threads.
    """
    entries = json.loads((folder / INDEX).read_text())["volumes"]
    known = [e for e in entries if e["dataset"] in rules]
    volumes = in_parallel(lambda e: _take(folder, e, rules[e["dataset"]].skip, whole), known)
    return [v for v in volumes if v.targets or unlabelled]


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _put(folder: Path, volume: Volume) -> dict[str, Any]:
    blosc2 = _blosc2()
    for kind, array in (("image", volume.image), ("labels", volume.labels)) if blosc2 else ():
        chunks = tuple(min(CHUNK, n) for n in array.shape)
        path = folder / f"{_stem(volume.dataset, volume.name)}.{kind}.b2nd"
        packing = {"codec": blosc2.Codec.LZ4, "clevel": 5}
        blosc2.asarray(
            np.ascontiguousarray(array), urlpath=str(path), mode="w", chunks=chunks, cparams=packing
        )
    if not blosc2:
        path = folder / f"{_stem(volume.dataset, volume.name)}.npz"
        np.savez_compressed(path, image=volume.image[:, :, :], labels=volume.labels[:, :, :])
    return entry_of(volume)


def _blosc2() -> Any:
    """The library, computing with one thread, or None where it is not installed."""
    try:
        import blosc2
    except ImportError:
        return None
    blosc2.set_nthreads(1)
    return blosc2


def _stem(dataset: str, name: str) -> str:
    """Of the files of a volume."""
    return f"{dataset}.{name}"


def entry_of(volume: Volume) -> dict[str, Any]:
    """What the index says of a volume: everything but its arrays."""
    return {
        "name": volume.name,
        "dataset": volume.dataset,
        "spacing_dhw_mm": list(volume.spacing_dhw_mm),
        "targets": [asdict(t) for t in volume.targets],
        "statistics": list(volume.statistics),
        "instance": volume.instance,
        "body": [volume.body.start, volume.body.stop],
        "places": {
            str(label): {"start": p.start, "stop": p.stop, "seeds": p.seeds.tolist()}
            for label, p in volume.places.items()
        },
    }


def _arrays(folder: Path, stem: str, whole: bool) -> tuple[Any, Any]:
    """Image and labels (D, H, W) of a volume: on disk, or ``whole`` in memory."""
    if (folder / f"{stem}.npz").exists():
        with np.load(folder / f"{stem}.npz") as archive:
            return archive["image"], archive["labels"]
    blosc2 = _blosc2()
    if blosc2 is None:
        raise ImportError(
            f"{folder} holds {stem} for Blosc2, which is not installed: `pip install blosc2`, or carry the "
            "volumes here with `python -m vesal.training.pack`, which needs none"
        )
    kinds = (folder / f"{stem}.{kind}.b2nd" for kind in ("image", "labels"))
    image, labels = (blosc2.open(str(path), mode="r", mmap_mode="r") for path in kinds)
    return (image[:], labels[:]) if whole else (image, labels)


def _take(folder: Path, entry: dict[str, Any], skip: tuple[str, ...], whole: bool) -> Volume:
    image, labels = _arrays(folder, _stem(entry["dataset"], entry["name"]), whole)
    places = {
        int(label): Place(tuple(p["start"]), tuple(p["stop"]), np.array(p["seeds"], np.int32))
        for label, p in entry["places"].items()
    }
    mean, std = entry["statistics"]
    d, h, w = entry["spacing_dhw_mm"]
    targets = tuple(Target(**t) for t in entry["targets"] if not t["concept"].startswith(skip))
    return Volume(
        entry["name"],
        entry["dataset"],
        image,
        labels,
        (d, h, w),
        targets,
        (mean, std),
        entry["instance"],
        places,
        Box(*(triple(edge) for edge in entry["body"])),
    )
