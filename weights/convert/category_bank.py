"""Texts of the categories that SegVol was trained on, encoded beforehand: the bank of a converted folder.

The categories are data (``weights/segvol/prompts/categories.json``), and so is the sentence that each stands
in (Du et al. 2024, section 2; with the full stop of the released code, which the paper prints without).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch

from vesal.networks.segvol import SegVol
from vesal.weights.convert.clip_tokenizer import FIRST, LAST, TOKENIZER
from vesal.weights.convert.errors import ConversionError
from vesal.weights.convert.system import PROFILES

log = logging.getLogger("vesal")

BANK = "bank.npz"
CATEGORIES = PROFILES / "segvol" / "prompts" / "categories.json"
GROUP = 32
"""Sentences encoded at once."""


class Categories(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file of categories holds."""

    about: str
    template: str
    """With `{name}` in it."""
    groups: dict[str, tuple[str, ...]]
    """Names by the part of the body, for people."""

    @property
    def names(self) -> list[str]:
        """All names, each once."""
        return list(dict.fromkeys(name for group in self.groups.values() for name in group))


def read_categories(path: Path = CATEGORIES) -> Categories:
    """Read a file of categories.

    Raises:
        ConversionError: it is none.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Categories)
    except (OSError, msgspec.DecodeError) as error:
        raise ConversionError(f"{path} is no list of categories ({error}). Restore it.") from error
    if "{name}" not in found.template:
        raise ConversionError(f"{path}: `$.template` has no {{name}}: {found.template!r}. Restore it.")
    return found


def write_category_bank(network: SegVol, folder: Path) -> Path:
    """Store names (K,) and vectors (K, C) float32 of all categories; returns the file.

    A name whose tokens the encoder does not have, as with a tokenizer that is not its own, is left out.

    Args:
        network: with its weights.
        folder: with the tokenizer; the bank is written there.
    """
    known = read_categories()
    names = known.names
    rows = token_rows(folder / TOKENIZER, [known.template.format(name=name) for name in names])
    sizes = network.sizes.text
    usable = [
        number for number, row in enumerate(rows) if max(row) < sizes.vocabulary and len(row) <= sizes.context
    ]
    if len(usable) < len(names):
        log.warning("%d of %d categories are not in the bank.", len(names) - len(usable), len(names))
    vectors = encode_rows(network, [rows[number] for number in usable])
    kept = np.array([names[number] for number in usable], dtype=np.str_)
    np.savez_compressed(folder / BANK, names=kept, vectors=vectors)
    return folder / BANK


def token_rows(tokenizer: Path, sentences: Sequence[str]) -> list[list[int]]:
    """Token ids of each sentence between its marks, as many as it has."""
    from tokenizers import Tokenizer

    made = Tokenizer.from_str(tokenizer.read_text(encoding="utf-8"))
    made.no_truncation()
    made.no_padding()
    known = made.get_vocab(with_added_tokens=True)
    rows = (made.encode(each, add_special_tokens=False).ids for each in sentences)
    return [[known[FIRST], *row, known[LAST]] for row in rows]


@torch.no_grad()
def encode_rows(network: SegVol, rows: Sequence[Sequence[int]]) -> np.ndarray:
    """Vectors (K, C) float32 of rows of token ids, which are filled up with the end mark."""
    found = [np.zeros((0, network.sizes.image.width), np.float32)]
    for begin in range(0, len(rows), GROUP):
        some = rows[begin : begin + GROUP]
        longest = max(map(len, some))
        filled = [[*row, *[network.sizes.text.vocabulary - 1] * (longest - len(row))] for row in some]
        found.append(network.encode_text(torch.tensor(filled)).numpy())
    return np.concatenate(found)
