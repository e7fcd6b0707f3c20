"""Names in the published files to ours: the same, less a prefix, what is stored twice and what is not used.

Facts: ``docs/checkpoints.md`` 1 to 7, 10 and 15.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import torch
from torch import nn

from vesal.networks.medal_s import MEDAL_S, MedalS
from vesal.networks.mpnet_text import BIOLORD, MPNetText, text_sizes_of
from vesal.networks.sat import SAT_NANO, Sat, sizes_of
from vesal.weights.convert.checkpoint import Checkpoint
from vesal.weights.convert.errors import CheckpointError, MissingTensorsError

UNUSED = re.compile(
    r"mid_mask_embed_proj\.|\.norm1\.|\.pooler\.|embeddings\.position_ids$|atlas_tower|temperature"
)
"""Heads of deep supervision, norms and poolers that no forward pass uses, a buffer of old transformers, and
what the pre-training of the text encoder left."""
DOUBLED = (("all_modules.0.", "conv."), ("all_modules.1.", "norm."))
"""Second names of the same tensors."""
MAX_LISTED = 12
"""Names in a message; the rest is counted."""


def our_names(published: Iterable[str]) -> dict[str, str]:
    """Our name of every tensor that is used -> its name in the file; of two names for one, the first kind."""
    found: dict[str, str] = {}
    doubled: dict[str, str] = {}
    for theirs in published:
        ours = theirs.removeprefix("module.")
        if UNUSED.search(ours):
            continue
        single = ours
        for second, first in DOUBLED:
            single = single.replace(second, first)
        (found if single == ours else doubled)[single] = theirs
    return {**doubled, **found}


def load(checkpoint: Checkpoint, kind: str) -> nn.Module:
    """The network of a file, with its weights, in evaluation mode.

    Args:
        checkpoint: the file.
        kind: ``medal-s``, ``sat`` or ``text``.

    Raises:
        MissingTensorsError: tensors of the network are not in the file, or were cut off; the message lists
            them.
        CheckpointError: there are tensors of another network, or shapes that contradict each other.
    """
    names = our_names(checkpoint.tensors)
    shapes = {ours: checkpoint.shapes[theirs] for ours, theirs in names.items()}
    build, smallest = KINDS[kind]
    expected = smallest(shapes)
    missing = [name for name in expected if name not in shapes]
    if missing:
        raise MissingTensorsError(
            f"{checkpoint.path} lacks {_listed(missing)} of the {len(expected)} tensors of {TITLES[kind]}. "
            f"It holds {_listed(sorted(names))}. Give the published file of {TITLES[kind]}.",
            missing,
        )
    foreign = sorted(set(shapes) - set(expected))
    if foreign:
        raise CheckpointError(
            f"{checkpoint.path} holds {_listed(foreign)} that {TITLES[kind]} has not: another network's file."
        )
    cut = [ours for ours, theirs in names.items() if theirs in checkpoint.absent]
    if checkpoint.absent or not checkpoint.complete:
        rest = "only values that it does not use" if checkpoint.complete else "only the end of the archive"
        raise MissingTensorsError(
            f"{checkpoint.path} was cut short: {_listed(cut) if cut else rest} of {len(expected)} tensors is "
            "missing. Fetch it again.",
            cut,
        )
    try:
        with torch.device("meta"):
            model = build(shapes)
    except (IndexError, RuntimeError) as error:
        raise CheckpointError(f"{checkpoint.path}: no network has these shapes ({error}).") from error
    wrong = [f"{n} {shapes[n]}" for n, p in model.named_parameters() if tuple(p.shape) != shapes[n]]
    if wrong:
        raise CheckpointError(
            f"{checkpoint.path}: {_listed(wrong)} have shapes that do not go with the others. Fetch it again."
        )
    # Built anew: buffers that are computed would be empty on the meta device.
    model = build(shapes)
    state = {ours: torch.from_numpy(checkpoint.read(theirs)) for ours, theirs in names.items()}
    broken = [name for name, value in state.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise CheckpointError(
            f"{checkpoint.path}: {_listed(broken)} hold NaN or infinite numbers, with which a network gives "
            "nothing. Fetch the file again."
        )
    model.load_state_dict(state)
    return model.eval()


def _listed(names: list[str]) -> str:
    rest = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return f"{', '.join(names[:MAX_LISTED])}{rest} ({len(names)})"


def _indices(shapes: Mapping[str, tuple[int, ...]], pattern: str, default: int) -> int:
    """One more than the largest index at ``{}`` in any name, with any number at ``{any}``; a gap is found
    when names are compared.
    """
    any_, index = re.escape("{any}"), re.escape("{}")
    search = re.compile(re.escape(pattern).replace(any_, r"\d{1,2}").replace(index, r"(\d{1,2})"))
    found = [int(m.group(1)) for name in shapes if (m := search.match(name))]
    return max(found) + 1 if found else default


def _layers(shapes: Mapping[str, tuple[int, ...]], pattern: str, published: int, is_published: bool) -> int:
    """Layers of a transformer; in one of the published width no fewer than ``published``, though nothing else
    in the file tells that the last one is gone.
    """
    found = _indices(shapes, pattern, published)
    return max(found, published) if is_published else found


def _names_of_network(kind: Callable[..., nn.Module]) -> Callable[[Mapping[str, tuple[int, ...]]], list[str]]:
    def names(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
        # By whatever tells of them: what one part lacks, another may have, and is then named as missing.
        encoder = _indices(shapes, "backbone.encoder.stages.{}.", 0)
        decoder = _indices(shapes, "backbone.decoder.stages.{}.", 0)
        convs = _indices(shapes, "backbone.encoder.stages.{any}.0.convs.{}.", MEDAL_S.convs)
        query = shapes.get("projection_layer.2.weight", (0,))[0]
        sizes = replace(
            MEDAL_S,
            features=(8,) * (max(encoder, decoder + 1) if encoder or decoder else len(SAT_NANO.features)),
            convs=max(convs, MEDAL_S.convs),
            layers=_layers(shapes, "transformer_decoder.layers.{}.", MEDAL_S.layers, query == MEDAL_S.query),
        )
        with torch.device("meta"):
            return [name for name, _ in kind(sizes).named_parameters()]

    return names


def _names_of_text(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    width = shapes.get("text_tower.biolord.embeddings.word_embeddings.weight", (0, 0))[-1]
    pattern = "text_tower.biolord.encoder.layer.{}."
    layers = _layers(shapes, pattern, BIOLORD.layers, width == BIOLORD.width)
    with torch.device("meta"):
        return [name for name, _ in MPNetText(replace(BIOLORD, layers=layers)).named_parameters()]


Shapes = Mapping[str, tuple[int, ...]]
KINDS: dict[str, tuple[Callable[[Shapes], nn.Module], Callable[[Shapes], list[str]]]] = {
    "medal-s": (lambda shapes: MedalS(sizes_of(shapes)), _names_of_network(MedalS)),
    "sat": (lambda shapes: Sat(sizes_of(shapes)), _names_of_network(Sat)),
    "text": (lambda shapes: MPNetText(text_sizes_of(shapes)), _names_of_text),
}
TITLES = {"medal-s": "Medal S", "sat": "SAT", "text": "the text encoder"}
