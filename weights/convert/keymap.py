"""The network of a published file: its names to ours, its sizes from its shapes, and what is wrong with it.

Facts: ``docs/checkpoints.md`` 1 to 7, 10 and 15.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import nn

from vesal.weights.convert.errors import CheckpointError, MissingTensorsError
from vesal.weights.convert.formats import WeightsFile

UNUSED = re.compile(
    r"mid_mask_embed_proj\.|\.norm1\.|\.pooler\.|embeddings\.position_ids$|atlas_tower|temperature"
)
"""Heads of deep supervision, norms and poolers that no forward pass uses, a buffer of old transformers, and
what the pre-training of the text encoder left."""
WRAPPERS = re.compile(r"^(?:module\.)+|(?<![^.])_orig_mod\.")
"""What torch's wrappers put into names: data-parallel training in front, `torch.compile` anywhere."""
DOUBLED = (("all_modules.0.", "conv."), ("all_modules.1.", "norm."))
"""Second names of the same tensors."""
log = logging.getLogger("vesal")

MAX_LISTED = 12
"""Names in a message; the rest is counted."""

Shapes = Mapping[str, tuple[int, ...]]
"""Of a file's tensors, by our names."""
N = TypeVar("N", bound=nn.Module)


def our_names(published: Iterable[str]) -> dict[str, str]:
    """Our name of every tensor that is used -> its name in the file; of two names for one, the first kind.

    Ours are the published ones of Medal S and SAT, less a prefix, what is stored twice and what is not used.

    Raises:
        CheckpointError: two names are one less their prefixes; nothing tells which is meant.
    """
    found: dict[str, str] = {}
    doubled: dict[str, str] = {}
    for theirs in published:
        ours = unwrapped(theirs)
        if UNUSED.search(ours):
            continue
        single = ours
        for second, first in DOUBLED:
            single = single.replace(second, first)
        into = found if single == ours else doubled
        if single in found and into is found:
            raise CheckpointError(
                f"The file holds {found[single]} and {theirs}, two tensors for {single}; which one is meant "
                "cannot be known. Save one network without the other."
            )
        into[single] = theirs
    return {**doubled, **found}


def unwrapped(name: str) -> str:
    """The name of a tensor without what torch's wrappers put into it."""
    while (bare := WRAPPERS.sub("", name)) != name:
        name = bare
    return name


@dataclass(frozen=True)
class Part(Generic[N]):
    """A network that one published file holds."""

    title: str
    """For messages."""
    build: Callable[[Shapes], N]
    """The network, as large as the shapes tell."""
    expected: Callable[[Shapes], list[str]]
    """Our names of all its tensors, from whatever part of them the file has."""
    our_names: Callable[[Iterable[str]], dict[str, str]] = our_names
    """Names in the file -> our name to its name in the file, of every tensor that is used."""
    optional: frozenset[str] = frozenset()
    """Our names of tensors that a file may lack: the network then keeps what it is built with."""
    refusal: Callable[[Iterable[str]], str | None] = lambda published: None
    """Names in the file -> what it is, where it is a known one of another kind."""


def load(checkpoint: WeightsFile, part: Part[N]) -> N:
    """The network of a file, with its weights, in evaluation mode.

    Args:
        checkpoint: the file.
        part: what the file should hold.

    Raises:
        MissingTensorsError: tensors of the network are not in the file, or were cut off; the message lists
            them.
        CheckpointError: there are tensors of another network, or shapes that contradict each other; or the
            file is a known one that is not wanted.
    """
    other = part.refusal(checkpoint.tensors)
    if other is not None:
        raise CheckpointError(f"{checkpoint.path} {other}")
    names = part.our_names(checkpoint.tensors)
    shapes = {ours: checkpoint.shapes[theirs] for ours, theirs in names.items()}
    with _sizes_make_sense(checkpoint):
        expected = part.expected(shapes)
    missing = [name for name in expected if name not in shapes and name not in part.optional]
    if missing:
        raise MissingTensorsError(
            f"{checkpoint.path} lacks {_listed(missing)} of the {len(expected)} tensors of {part.title}. "
            f"It holds {_listed(sorted(names))}. Give the published file of {part.title}.",
            missing,
        )
    foreign = sorted(set(shapes) - set(expected))
    if foreign:
        raise CheckpointError(
            f"{checkpoint.path} holds {_listed(foreign)} that {part.title} has not: another network's file."
        )
    cut = [ours for ours, theirs in names.items() if theirs in checkpoint.absent]
    if checkpoint.absent or not checkpoint.complete:
        rest = "only values that it does not use" if checkpoint.complete else "only the end of the archive"
        raise MissingTensorsError(
            f"{checkpoint.path} was cut short: {_listed(cut) if cut else rest} of {len(expected)} tensors is "
            "missing. Fetch it again.",
            cut,
        )
    with _sizes_make_sense(checkpoint), torch.device("meta"):
        model = part.build(shapes)
    wrong = [
        f"{n} {shapes[n]}"
        for n, p in model.state_dict().items()
        if n in shapes and tuple(p.shape) != shapes[n]
    ]
    if wrong:
        raise CheckpointError(
            f"{checkpoint.path}: {_listed(wrong)} have shapes that do not go with the others. Fetch it again."
        )
    # Built anew: buffers that are computed would be empty on the meta device.
    model = part.build(shapes)
    state = {ours: torch.from_numpy(checkpoint.read(theirs)) for ours, theirs in names.items()}
    broken = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise CheckpointError(
            f"{checkpoint.path}: {_listed(broken)} hold NaN or infinite numbers, with which a network gives "
            "nothing. Fetch the file again."
        )
    kept = sorted(part.optional - set(state))
    if kept:
        log.warning("%s lacks %s; what the network is built with stays.", checkpoint.path.name, _listed(kept))
    # All other names were compared above.
    model.load_state_dict(state, strict=not kept)
    return model.eval()


@contextmanager
def _sizes_make_sense(checkpoint: WeightsFile) -> Iterator[None]:
    """Sizes are read from shapes, and any of these may be odd: a number for a matrix, an axis of 0."""
    try:
        yield
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{checkpoint.path}: no network has these shapes ({error}). Fetch the published file again."
        ) from error


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return f"{', '.join(names[:MAX_LISTED])}{rest} ({len(names)})"
