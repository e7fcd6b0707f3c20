"""Volumes on disk as Blosc2 arrays, mapped into memory: read in parts, shared by all processes.

The challenge's npz files are compressed whole, so a crop would cost the whole volume. They are unpacked once,
in chunks, with what must be known without reading them (``store.Place``). A shelf is made anew when its
sources change.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from tqdm import tqdm

from vesal.inference.geometry.views import Box, triple
from vesal.training.store import Place, SetRule, Target, Volume, read_volume

FORMAT = 3
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
    blosc2.set_nthreads(1)
    volumes = tqdm(source.volumes, desc=f"filling {folder.name}", unit="volume", disable=None)
    entries = [_put(folder, v) for v in volumes if v.targets or unlabelled]
    whole = index.with_suffix(".tmp")
    whole.write_text(json.dumps({"key": source.key, "format": FORMAT, "volumes": entries}))
    whole.replace(index)


def read(folder: Path, rules: Mapping[str, SetRule], unlabelled: bool = False) -> list[Volume]:
    """The volumes of a filled shelf that the rules leave a target; their arrays stay on disk.

    ``unlabelled``: those without a target too.
    """
    blosc2.set_nthreads(1)
    entries = json.loads((folder / INDEX).read_text())["volumes"]
    volumes = [_take(folder, e, rules[e["dataset"]].skip) for e in entries if e["dataset"] in rules]
    return [v for v in volumes if v.targets or unlabelled]


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _put(folder: Path, volume: Volume) -> dict[str, Any]:
    stem = f"{volume.dataset}.{volume.name}"
    for kind, array in (("image", volume.image), ("labels", volume.labels)):
        chunks = tuple(min(CHUNK, n) for n in array.shape)
        path = folder / f"{stem}.{kind}.b2nd"
        packing = {"codec": blosc2.Codec.LZ4, "clevel": 5}
        blosc2.asarray(
            np.ascontiguousarray(array), urlpath=str(path), mode="w", chunks=chunks, cparams=packing
        )
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


def _take(folder: Path, entry: dict[str, Any], skip: tuple[str, ...]) -> Volume:
    stem = f"{entry['dataset']}.{entry['name']}"
    image, labels = (
        blosc2.open(str(folder / f"{stem}.{kind}.b2nd"), mode="r", mmap_mode="r")
        for kind in ("image", "labels")
    )
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
