"""Folders of unpacked volumes that a training reads: filled from the data, or carried from elsewhere."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from vesal.training.parallel import is_first
from vesal.training.shelf import INDEX, files, fill
from vesal.training.store import find_volumes, learnt, read_rules, without_patients

HELD_OUT = "val"
"""What the names of shelves to look at begin with; behind it stands how many volumes of a set they hold."""
FILES = "train"
"""Name of the shelf of the data's own files; others are made of these or of label maps."""


def shelves_of(args: argparse.Namespace) -> dict[str, list[Path]]:
    """Folders of unpacked volumes to train on and to look at; filled before other processes start.

    Nothing of a patient who is looked at is trained on, also if the split of the data were by file and let
    one modality of a patient stand in ``train`` and another in ``val``.
    """
    base, rules = args.store or args.work / "store", learnt(read_rules())
    if args.data is None:
        return carried_shelves(base, args.looks, "synthetic" not in args.without)
    # Imported here: what makes volumes needs libraries that reading them does not.
    from vesal.training import abdomens, drawn_nuclei, recoloured, smoothed
    from vesal.training.synthetic import synthetic_source

    shelves: dict[str, list[Path]] = {"train": [base / FILES], "val": []}
    held_out = sorted((args.data / "val").glob("*/*.npz"))
    paths = without_patients(find_volumes(args.data / "train", rules), held_out)
    sources = {base / FILES: lambda: files(paths)}
    if (args.data / "labelmaps").is_dir() and "synthetic" not in args.without:
        shelves["train"].append(base / "synthetic")
        sources[base / "synthetic"] = lambda: synthetic_source(args.data / "labelmaps")
        if {abdomens.CT, abdomens.MR} & set(rules):
            shelves["train"].append(base / "deformed")
            sources[base / "deformed"] = lambda: abdomens.source(args.data / "labelmaps")
    for name, maker in {"smoothed": smoothed, "recoloured": recoloured, "nuclei": drawn_nuclei}.items():
        known = [path for path in paths if path.parent.name == maker.MADE_OF]
        if known and "synthetic" not in args.without:
            shelves["train"].append(base / name)
            sources[base / name] = partial(maker.source, known)
    if args.looks and (args.data / "val").is_dir():
        shelves["val"].append(base / f"{HELD_OUT}{args.looks}")
        sources[shelves["val"][0]] = lambda: files(find_volumes(args.data / "val", rules, args.looks))
    if is_first():
        for folder, source in sources.items():
            fill(folder, source())
    return shelves


def carried_shelves(base: Path, looks: int, made: bool) -> dict[str, list[Path]]:
    """The shelves of a store as they are, without the data that they were filled from.

    Args:
        base: the store.
        looks: whether held-out volumes are looked at; how many of a set was settled when it was filled.
        made: whether volumes that were made are trained on too.

    Raises:
        FileNotFoundError: there is no shelf of training volumes.
    """
    found = sorted(path.parent for path in base.glob(f"*/{INDEX}"))
    held_out = [path for path in found if path.name.startswith(HELD_OUT)]
    train = [path for path in found if path not in held_out and (made or path.name == FILES)]
    if not train:
        raise FileNotFoundError(
            f"{base} holds no unpacked volumes; give --data, or put together there what "
            "`python -m vesal.training.pack` wrote"
        )
    return {"train": train, "val": held_out[:1] if looks else []}
