"""What the sets hold: volumes in training and validation, targets and how many volumes ask for each.

Counted is what is learnt and looked at: not the training files that show a held-out patient in another
modality, nor those of sets without weight in ``sets.json``, and not the concepts that it skips.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vesal.inference.data.errors import UsageError
from vesal.inference.io.npz_archive import NpzArchive
from vesal.inference.io.plain_pickle import load_plain
from vesal.inference.io.prompt_files import parse_prompts_dict
from vesal.training.measure.phrasings import read
from vesal.training.measure.results import Report, markdown_table
from vesal.training.store import learnt, read_rules, without_patients

SPLITS = ("train", "val")
MOST_NAMES = 8
"""More targets than this are counted and not named."""
MOST_PROMPT_BYTES = 16 * 1024**2
"""As `io.npz` allows for prompts."""


@dataclass
class Contents:
    """One set in both splits."""

    volumes: Counter[str] = field(default_factory=Counter)
    """Split to volumes."""
    targets: Counter[str] = field(default_factory=Counter)
    """Target to volumes of both splits whose prompts name it."""
    unknown: Counter[str] = field(default_factory=Counter)
    """Sentences that name nothing known."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of this measurement."""
    parser.add_argument(
        "--data", type=Path, required=True, help="folder with train/SET/*.npz and val/SET/*.npz"
    )


def measure(args: argparse.Namespace) -> Report:
    """Read the prompts of every volume; images and labels are not read."""
    sets = survey(args.data)
    rows = [
        (name, shown(list(c.targets)), *(c.volumes[split] for split in SPLITS))
        for name, c in sorted(sets.items())
    ]
    total = [sum(c.volumes[split] for c in sets.values()) for split in SPLITS]
    text = markdown_table(("set", "targets", "train", "val"), [*rows, ("**all**", "", *total)])
    content: dict[str, Any] = {
        name: {"volumes": dict(c.volumes), "targets": dict(c.targets), "unknown": dict(c.unknown)}
        for name, c in sorted(sets.items())
    }
    return Report(text, {"sets": content})


def survey(data: Path) -> dict[str, Contents]:
    """Contents of every set; raises UsageError where there is no volume."""
    sets: dict[str, Contents] = {}
    rules = read_rules()
    paths = {split: sorted((data / split).glob("*/*.npz")) for split in SPLITS}
    unused = rules.keys() - learnt(rules).keys()
    used = [path for path in paths["train"] if path.parent.name not in unused]
    paths["train"] = without_patients(used, paths["val"])
    for split in SPLITS:
        for path in paths[split]:
            skip = rules[path.parent.name].skip if path.parent.name in rules else ()
            found = sets.setdefault(path.parent.name, Contents())
            found.volumes[split] += 1
            for text in read_sentences(path):
                key = read(text, path.stem)
                if key is None:
                    found.unknown[text] += 1
                elif not key[0].startswith(skip):
                    found.targets[f"{key[1]} {key[0]}" if key[1] else key[0]] += 1
    if not sets:
        raise UsageError(f"{data} holds no train/SET/NAME.npz and no val/SET/NAME.npz")
    return sets


def read_sentences(path: Path) -> list[str]:
    """The sentences that a volume's file carries. Raises CaseError."""
    with NpzArchive(path) as archive:
        _, raw = archive.read_raw("text_prompts", MOST_PROMPT_BYTES)
    source = f"{path.name}, 'text_prompts'"
    return list(parse_prompts_dict(load_plain(raw, source), source).sentences.values())


def shown(targets: list[str]) -> str:
    """Targets for a table."""
    names = ", ".join(targets[:MOST_NAMES])
    return names if len(targets) <= MOST_NAMES else f"{len(targets)} structures, such as {names}"
