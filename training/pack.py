"""``python -m vesal.training.pack --store DIR --parts 20``: a store as parts of at most 20 MB.

They are what a training needs on another machine, without the data's files: the unpacked volumes of the sets
that are trained on, with no more voxels than its views show (``shrink.py``), and the text vectors. With
``--folder`` in place of the store any folder is packed as it is: a run's working folder, or weights.

``python -m vesal.training.pack --unpack PARTS [PARTS ...] --out DIR`` checks every part by its SHA-256 and
puts them together, wherever they lie; ``python -m vesal.training --store DIR`` then needs no ``--data``.
"""

from __future__ import annotations

import argparse
import io
import logging
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from vesal.training.bank import BANK, build_bank
from vesal.training.bar import tqdm
from vesal.training.feeder import VIEW_SHARES
from vesal.training.parts import MB, JoinedParts, Part, PartsError, PartsWriter, checked_parts
from vesal.training.plan import Plan
from vesal.training.shelf import INDEX, entry_of, index_text, key_of, read
from vesal.training.shrink import MOST_VOXELS, shrunk
from vesal.training.store import SetRule, Volume, learnt, read_rules

Member = tuple[str, bytes]
"""Path within the store, and content."""
CARRIED = " carried"
"""Behind the key of a shelf whose volumes were shrunk: where the data are it is filled anew."""


def packed_volume(volume: Volume) -> bytes:
    """An npz with ``image`` and ``labels``; the same volume gives the same bytes.

    Bzip2 in place of numpy's deflate takes a sixth off images, as LZMA does at five times the time.
    """
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_BZIP2) as archive:
        for name, array in (("image", volume.image), ("labels", volume.labels)):
            held = io.BytesIO()
            np.lib.format.write_array(held, np.ascontiguousarray(array[:, :, :]))
            # Without a date of its own: zipfile's default is the clock's.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), held.getvalue(), zipfile.ZIP_BZIP2)
    return whole.getvalue()


def members_of_store(store: Path, rules: dict[str, SetRule], most_voxels: int) -> Iterator[Member]:
    """Everything of a store that a training reads. Raises PartsError where it holds no filled shelf."""
    shelves = sorted(path.parent for path in store.glob(f"*/{INDEX}"))
    if not shelves:
        raise PartsError(f"{store} holds no unpacked volumes; give the --store of a training that has begun")
    largest = int(Plan.fine_voxels * VIEW_SHARES["fine"][1])
    for shelf in shelves:
        entries = []
        volumes = tqdm(read(shelf, rules), desc=f"packing {shelf.name}", unit="volume", disable=None)
        for volume in volumes:
            small = shrunk(volume, rules[volume.dataset], largest, most_voxels)
            entries.append(entry_of(small))
            yield f"{shelf.name}/{small.dataset}.{small.name}.npz", packed_volume(small)
        yield f"{shelf.name}/{INDEX}", index_text(key_of(shelf) + CARRIED, entries).encode()


def members_of_folder(folder: Path) -> Iterator[Member]:
    """All files of a folder, in the order of their names."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def write_parts(members: Iterable[Member], out: Path, most: int) -> list[Part]:
    """Write ``members`` as parts of at most ``most`` bytes to ``out``, with their list; returns the parts."""
    with PartsWriter(out, most) as parts, tarfile.open(fileobj=parts, mode="w|") as archive:
        for name, content in members:
            entry = tarfile.TarInfo(name)  # of nobody and of no time
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return parts.parts


def unpack(folders: Sequence[Path], out: Path) -> int:
    """Put parts together to ``out``; returns how many files there are. Raises PartsError."""
    paths = checked_parts(folders)
    out.mkdir(parents=True, exist_ok=True)
    count = 0
    with JoinedParts(paths) as whole, tarfile.open(fileobj=whole, mode="r|") as archive:
        for count, entry in enumerate(archive, 1):  # noqa: B007
            archive.extract(entry, out, filter="data")
    return count


def main() -> None:
    """Parse the command line; pack or put together."""
    parser = argparse.ArgumentParser(prog="python -m vesal.training.pack", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--store", type=Path, help="unpacked volumes of a training")
    what.add_argument("--folder", type=Path, help="a folder to pack as it is")
    what.add_argument("--unpack", type=Path, nargs="+", metavar="PARTS", help="folders with parts")
    parser.add_argument("--out", type=Path, help="default: beside what is packed, as NAME.parts")
    parser.add_argument("--parts", type=float, default=20.0, metavar="MB", help="most of a part, 10^6 bytes")
    parser.add_argument("--most-voxels", type=int, default=MOST_VOXELS, help="larger volumes are thinned")
    parser.add_argument("--start", type=Path, help="weights that the training will begin from")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        run(args)
    except PartsError as error:
        parser.error(str(error))


def run(args: argparse.Namespace) -> None:
    """Do what the command line says. Raises PartsError."""
    if args.unpack:
        if args.out is None:
            raise PartsError("--unpack needs --out, the folder to put the parts together to")
        logging.info("%d files in %s", unpack(args.unpack, args.out), args.out)
        return
    given: Path = args.store or args.folder
    if args.parts <= 0 or not given.is_dir():
        raise PartsError(f"{given} is no folder, or parts of {args.parts:g} MB are too small")
    out = args.out or given.resolve().with_name(given.resolve().name + ".parts")
    with tempfile.TemporaryDirectory() as scratch:
        if args.store:
            build_bank(Path(scratch), args.start)
            bank = (BANK, (Path(scratch) / BANK).read_bytes())
            members: Iterable[Member] = chain(
                [bank], members_of_store(given, learnt(read_rules()), args.most_voxels)
            )
        else:
            members = members_of_folder(given)
        parts = write_parts(members, out, int(args.parts * MB))
    logging.info("%d parts, %.1f MB, in %s", len(parts), sum(p.bytes for p in parts) / MB, out)


if __name__ == "__main__":
    main()
