"""Numbers for Boltzmann attention sampling that are the same whatever the batch, the thread or the order.

The published network draws anew at each call. Here each number hangs on the case, the sentence, the slice,
the layer, the head and the token alone, so the same case gives the same bytes.

Philox (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") computes any place of its stream
from a key and a counter. The key is a digest of case, sentence and slice; the counter's highest word is the
layer, its lowest counts the blocks of 256 bits, and each head begins at a block of its own. A block gives
16 numbers of 16 bits: k / 65536 + 1 / 131072, exact in float32. A chance of p is so met to within 1 / 131072,
where a full float would cost twice the time and memory. The stream is stable across numpy's versions
(NEP 19).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

QUERIES = 16
"""Of the published decoder: so many numbers a token and head, which is one block of the generator."""
BITS = 16
"""Of each number."""
PER_WORD = 64 // BITS
WORDS_PER_BLOCK = 4


def draw_layer(
    case: bytes, sentence: str, slice_index: int, layer: int, heads: int, tokens: int, queries: int = QUERIES
) -> np.ndarray:
    """Uniform numbers of one prompt on one slice for one layer.

    Args:
        case: what tells the case from others.
        sentence: the prompt as it stands; two prompts of the same sentence get the same numbers.
        slice_index: of the slice in its volume, whichever slices are run.
        layer: of the decoder, from 0.
        heads: of its attention; further heads change nothing for those before them.
        tokens: of the image at the layer's resolution, h * w.
        queries: of the decoder.

    Returns:
        (heads, queries, tokens) float32, each in 0..1 exclusive.
    """
    numbers = draw_bits(case, sentence, slice_index, layer, heads, tokens, queries)
    return (numbers.astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-BITS)


def draw_bits(
    case: bytes, sentence: str, slice_index: int, layer: int, heads: int, tokens: int, queries: int = QUERIES
) -> np.ndarray:
    """The numbers of ``draw_layer`` as (heads, queries, tokens) uint16, 0..65535."""
    words = -(-queries * tokens // PER_WORD)
    blocks = -(-words // WORDS_PER_BLOCK)
    generator = np.random.Philox(counter=layer << 192, key=draw_key(case, sentence, slice_index))
    raw = generator.random_raw(heads * blocks * WORDS_PER_BLOCK).astype("<u8", copy=False).view("<u2")
    own = raw.reshape(heads, -1)[:, : queries * tokens]
    return own.reshape(heads, queries, tokens).astype(np.uint16, copy=False)


def draw_key(case: bytes, sentence: str, slice_index: int) -> int:
    """128 bits that tell case, sentence and slice; lengths are in it, so that no two can be joined alike."""
    text = sentence.encode()
    digest = hashlib.sha256(b"%d %d %d " % (len(case), len(text), slice_index) + case + text).digest()
    return int.from_bytes(digest[:16], "little")


def draw_inputs(
    case: bytes,
    sentences: Sequence[str],
    slices: Sequence[int],
    tokens: Sequence[int],
    layers: int,
    heads: int,
    queries: int = QUERIES,
) -> dict[str, np.ndarray]:
    """Inputs ``draws_0``, ``draws_1``, ... of the decoder graph.

    Args:
        case: what tells the case from others.
        sentences: of the P prompts.
        slices: indices of the S slices in the volume.
        tokens: of each level, h * w, coarsest first; layer i attends to level ``i % len(tokens)``.
        layers: of the decoder.
        heads: of its attention.
        queries: of the decoder.

    Returns:
        (P, S, heads, queries, tokens) float32 by name.
    """
    found = {}
    for layer in range(layers):
        count = tokens[layer % len(tokens)]
        numbers = np.empty((len(sentences), len(slices), heads, queries, count), np.float32)
        for row, sentence in enumerate(sentences):
            for column, index in enumerate(slices):
                numbers[row, column] = draw_layer(case, sentence, index, layer, heads, count, queries)
        found[f"draws_{layer}"] = numbers
    return found
