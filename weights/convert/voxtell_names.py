"""Names of VoxTell's published tensors: which are used, which are stored twice, and which are never run.

As released: every convolution and norm stands in the checkpoint under two names, and the encoder once more
inside of the decoder. Self-attention and `norm1` of the prompt decoder, and the decoder's heads of deep
supervision, are stored and never run: a fifth of the parameters, which is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch

from vesal.networks.voxtell import VOXTELL as PUBLISHED
from vesal.networks.voxtell import VoxTell, voxtell_sizes_of
from vesal.weights.convert.errors import CheckpointError, MissingTensorsError
from vesal.weights.convert.formats import WeightsFile
from vesal.weights.convert.keymap import DOUBLED, Part, Shapes, unwrapped
from vesal.weights.convert.parts import count_indices, count_layers

TWICE, ONCE = "decoder.encoder.", "encoder."
"""The encoder inside of the decoder, and by itself."""
NEVER_RUN = re.compile(r"transformer_decoder\.layers\.\d+\.(self_attn|norm1)\.|decoder\.seg_layers\.\d+\.")
TITLE = "VoxTell v1.1"


def original_of(name: str) -> str:
    """The name under which a tensor is used; that of a double is another one than its own."""
    name = unwrapped(name)
    if name.startswith(TWICE):
        name = ONCE + name.removeprefix(TWICE)
    for second, first in DOUBLED:
        name = name.replace(f".{second}", f".{first}")
    return name


def our_names(published: Iterable[str]) -> dict[str, str]:
    """Our name of every tensor that is run -> its name in the file.

    Raises:
        CheckpointError: two names are one less what torch's wrappers put into them.
    """
    found: dict[str, str] = {}
    for theirs in published:
        ours = unwrapped(theirs)
        if original_of(ours) != ours or NEVER_RUN.match(ours):
            continue
        if ours in found:
            raise CheckpointError(
                f"The file holds {found[ours]} and {theirs}, two tensors for {ours}; which one is meant "
                "cannot be known. Save one network without the other."
            )
        found[ours] = theirs
    return found


def check_doubles(file: WeightsFile) -> int:
    """See that what is stored twice is the same both times.

    Returns:
        how many tensors are another's double.

    Raises:
        MissingTensorsError: a double without what it repeats.
        CheckpointError: a double that is another tensor; the message names the first.
    """
    originals = {unwrapped(name): name for name in file.shapes}
    doubles = {name: original_of(name) for name in file.shapes if original_of(name) != unwrapped(name)}
    lost = sorted({original for original in doubles.values() if original not in originals})
    if lost:
        double = next(name for name, original in doubles.items() if original == lost[0])
        raise MissingTensorsError(
            f"{file.path} holds {double}, which repeats {lost[0]}, but not that itself ({len(lost)} such "
            f"tensors). Fetch the published file of {TITLE}.",
            lost,
        )
    if file.absent or not file.complete:
        return len(doubles)  # said when the network is read
    for double, original in doubles.items():
        one, other = file.read(double), file.read(originals[original])
        # Of NaN in both the network's reader tells.
        if one.shape != other.shape or not np.array_equal(one, other, equal_nan=True):
            raise CheckpointError(
                f"{file.path}: {double} and {original} should be one tensor, and differ. Which one is meant "
                f"cannot be known: fetch the published file of {TITLE} again."
            )
    return len(doubles)


def _expected(shapes: Shapes) -> list[str]:
    """Names of all tensors; a network of the published width has no fewer layers than that one."""
    known = PUBLISHED
    is_published = shapes.get("transformer_decoder.norm.weight", (0,))[0] == known.width
    least = len(known.features) if is_published else 3
    stages = max(
        least,
        count_indices(shapes, "encoder.stages.{}.", least),
        1 + count_indices(shapes, "decoder.transpconvs.{}.", least - 1),
    )
    blocks = tuple(
        count_layers(shapes, f"encoder.stages.{i}.blocks.{{}}.", at_least, is_published)
        for i, at_least in enumerate((known.blocks + (1,) * stages)[:stages])
    )
    layers = count_layers(shapes, "transformer_decoder.layers.{}.", known.layers, is_published)
    sizes = replace(known, features=_features(shapes, stages), blocks=blocks, layers=layers)
    with torch.device("meta"):
        return list(VoxTell(sizes).state_dict())


def _features(shapes: Shapes, stages: int) -> tuple[int, ...]:
    """Channels of the encoder's resolutions, of which names need only which ones are equal."""
    known = PUBLISHED.features
    found: list[int] = []
    for i in range(stages):
        names = [f"encoder.stages.{i}.blocks.0.conv{n}.conv.weight" for n in (1, 2)]
        channels = next((shapes[name][0] for name in names if name in shapes), known[min(i, len(known) - 1)])
        if any(name.startswith(f"encoder.stages.{i}.blocks.0.skip.") for name in shapes):
            channels = channels if channels != found[-1] else channels + 1
        found.append(channels)
    return tuple(found)


NETWORK: Part[VoxTell] = Part(TITLE, lambda shapes: VoxTell(voxtell_sizes_of(shapes)), _expected, our_names)
