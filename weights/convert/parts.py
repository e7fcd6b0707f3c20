"""Parts that Medal S and SAT share: a U-Net with query decoder, and the text encoder BioLORD-2023-C.

Facts: ``docs/checkpoints.md`` 10, 11 and 15.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import torch

from vesal.networks.medal_s import MEDAL_S
from vesal.networks.mpnet_text import BIOLORD, MPNetText, text_sizes_of
from vesal.networks.sat import SAT_NANO, Sat, Sizes, sizes_of
from vesal.weights.convert.keymap import Part, Shapes

N = TypeVar("N", bound=Sat)


def query_network(title: str, kind: Callable[[Sizes], N]) -> Part[N]:
    """A network whose sizes ``sizes_of`` reads from its tensors."""

    def expected(shapes: Shapes) -> list[str]:
        # By whatever tells of them: what one part lacks, another may have, and is then named as missing.
        encoder = count_indices(shapes, "backbone.encoder.stages.{}.", 0)
        decoder = count_indices(shapes, "backbone.decoder.stages.{}.", 0)
        convs = count_indices(shapes, "backbone.encoder.stages.{any}.0.convs.{}.", MEDAL_S.convs)
        query = shapes.get("projection_layer.2.weight", (0,))[0]
        sizes = replace(
            MEDAL_S,
            features=(8,) * (max(encoder, decoder + 1) if encoder or decoder else len(SAT_NANO.features)),
            convs=max(convs, MEDAL_S.convs),
            layers=count_layers(
                shapes, "transformer_decoder.layers.{}.", MEDAL_S.layers, query == MEDAL_S.query
            ),
        )
        with torch.device("meta"):
            return [name for name, _ in kind(sizes).named_parameters()]

    return Part(title, lambda shapes: kind(sizes_of(shapes)), expected)


def _names_of_text(shapes: Shapes) -> list[str]:
    width = shapes.get("text_tower.biolord.embeddings.word_embeddings.weight", (0, 0))[-1]
    pattern = "text_tower.biolord.encoder.layer.{}."
    layers = count_layers(shapes, pattern, BIOLORD.layers, width == BIOLORD.width)
    with torch.device("meta"):
        return [name for name, _ in MPNetText(replace(BIOLORD, layers=layers)).named_parameters()]


BIOLORD_TEXT: Part[MPNetText] = Part(
    "the text encoder", lambda shapes: MPNetText(text_sizes_of(shapes)), _names_of_text
)


def count_indices(shapes: Shapes, pattern: str, default: int) -> int:
    """One more than the largest index at ``{}`` in any name, with any number at ``{any}``; a gap is found
    when names are compared.
    """
    any_, index = re.escape("{any}"), re.escape("{}")
    search = re.compile(re.escape(pattern).replace(any_, r"\d{1,2}").replace(index, r"(\d{1,2})"))
    found = [int(m.group(1)) for name in shapes if (m := search.match(name))]
    return max(found) + 1 if found else default


def count_layers(shapes: Shapes, pattern: str, published: int, is_published: bool) -> int:
    """Layers of a transformer; in one of the published width no fewer than ``published``, though nothing else
    in the file tells that the last one is gone.
    """
    found = count_indices(shapes, pattern, published)
    return max(found, published) if is_published else found
