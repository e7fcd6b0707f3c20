"""SegVol (Du et al. 2024): windows with texts, boxes and points, one file with its text encoder inside.

The checkpoint is a dict of torch: weights below ``model``, each name behind ``module.`` of data-parallel
training; its optimizer's state is not read. CLIP's names have a level more, and a buffer of positions, with
the transformers of its time than with those of today: both are taken.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from vesal.inference.data.terms import MODALITIES
from vesal.inference.planning.manifest import Provenance
from vesal.networks.segvol import CLIP, DECODER, IMAGE, PROMPTS, TEXT, SegVol, SegVolSizes, segvol_sizes_of
from vesal.networks.segvol import SEGVOL as PUBLISHED
from vesal.weights.convert.category_bank import write_category_bank
from vesal.weights.convert.clip_tokenizer import write_clip_tokenizer
from vesal.weights.convert.errors import CheckpointError
from vesal.weights.convert.keymap import Part, Shapes, unwrapped
from vesal.weights.convert.one_file import OneFileSystem
from vesal.weights.convert.parts import count_layers
from vesal.weights.convert.segvol_graphs import PROMPTS_AT_ONCE, segvol_graphs
from vesal.weights.convert.segvol_verify import measure_segvol
from vesal.weights.convert.system import PROFILES, PublishedFile

TEXT_LEVEL, SHORT_LEVEL = CLIP, CLIP.removesuffix("text_model.")
"""Before a name of the text encoder, in the transformers of the checkpoint's time and in today's."""
POSITIONS = f"{CLIP}embeddings.position_ids"
"""0, 1, 2 and so on: a buffer of old transformers."""
PRETRAINED = ("model.encoder.", "encoder.", IMAGE, "")
"""What stands before names of the image encoder where it was trained alone."""
OTHERS = (TEXT, PROMPTS, DECODER)
HEAD_WIDTH, LEAST_HEADS = 64, 4
"""Channels of a head in the published encoders; reduced ones have no fewer than so many heads."""


def our_names(published: Iterable[str]) -> dict[str, str]:
    """Our name of every tensor of the network -> its name in the file.

    Raises:
        CheckpointError: two names are one less their prefix, or in the two spellings of CLIP.
    """
    found: dict[str, str] = {}
    for theirs in published:
        ours = unwrapped(theirs)
        if ours.startswith(SHORT_LEVEL) and not ours.startswith(TEXT_LEVEL):
            ours = TEXT_LEVEL + ours.removeprefix(SHORT_LEVEL)
        if ours == POSITIONS:
            continue
        if ours in found:
            raise CheckpointError(
                f"The file holds {found[ours]} and {theirs}, two tensors for {ours}; which one is meant "
                "cannot be known. Save one network without the other."
            )
        found[ours] = theirs
    return found


def encoder_alone(published: Iterable[str]) -> str | None:
    """What a file is that holds the pre-trained image encoder and nothing else; None of any other."""
    names = [unwrapped(name) for name in published]
    if any(name.startswith(OTHERS) for name in names):
        return None
    for prefix in PRETRAINED:
        if any(name.startswith(f"{prefix}patch_embedding.") for name in names):
            return (
                f"holds the pre-trained image encoder alone ({len(names)} tensors, as in ViT_pretrain.ckpt), "
                "without prompt encoder, mask decoder and text encoder, so nothing can be segmented with it. "
                "Give SegVol_v1.pth, which holds the whole network."
            )
    return None


def heads_of(width: int) -> int:
    """Heads of an encoder of this width, which no shape tells: as wide as those of the published ones."""
    return max(LEAST_HEADS, width // HEAD_WIDTH)


def _sizes(shapes: Shapes) -> SegVolSizes:
    width = shapes[f"{DECODER}iou_token.weight"][1]
    text_width = shapes[f"{CLIP}embeddings.token_embedding.weight"][1]
    return segvol_sizes_of(shapes, heads_of(width), heads_of(text_width))


def _expected(shapes: Shapes) -> list[str]:
    """Names of all tensors; a network of the published width has no fewer layers than that one."""
    known = PUBLISHED
    is_published = shapes.get(f"{DECODER}iou_token.weight", (0, 0))[-1] == known.decoder.width

    def layers(pattern: str, published: int) -> int:
        return count_layers(shapes, pattern, published, is_published)

    sizes = replace(
        known,
        image=replace(known.image, layers=layers(f"{IMAGE}blocks.{{}}.", known.image.layers)),
        text=replace(known.text, layers=layers(f"{CLIP}encoder.layers.{{}}.", known.text.layers)),
        decoder=replace(
            known.decoder, depth=layers(f"{DECODER}transformer.layers.{{}}.", known.decoder.depth)
        ),
    )
    with torch.device("meta"):
        return list(SegVol(sizes).state_dict())


def _facts(network: SegVol) -> dict[str, Any]:
    """What the family needs to know of a network, and people want to."""
    sizes = network.sizes
    window, grid = sizes.image.window_dhw, sizes.image.grid_dhw
    return {
        "window_dhw": list(window),
        "patch_dhw": list(sizes.image.patch_dhw),
        # Two transposed convolutions double the grid of patches twice.
        "stride_dhw": [side // (4 * places) for side, places in zip(window, grid, strict=True)],
        "channels": sizes.image.width,
        "words": sizes.text.context,
        "vocabulary": sizes.text.vocabulary,
        "prompts_at_once": PROMPTS_AT_ONCE,
    }


SEGVOL = OneFileSystem(
    name="segvol",
    title="SegVol",
    files=(PublishedFile("checkpoint", "all", "the network, .pth or .safetensors", "SegVol_v1.pth"),),
    tokenizer=PublishedFile("tokenizer", "text", "the folder of CLIP's tokenizer", "config/clip"),
    family="segvol",
    network=Part(
        "SegVol", lambda shapes: SegVol(_sizes(shapes)), _expected, our_names, refusal=encoder_alone
    ),
    graphs=segvol_graphs,
    measure=measure_segvol,
    facts=_facts,
    write_tokenizer=write_clip_tokenizer,
    write_bank=write_category_bank,
    provenance=Provenance(
        paper="Du et al. 2024, SegVol: Universal and Interactive Volumetric Medical Image Segmentation",
        repository="https://github.com/BAAI-DCAI/SegVol",
        code_licence="MIT",
        weights_licence="MIT",
        modalities=MODALITIES[:1],
    ),
    profile=PROFILES / "segvol" / "profile",
)
"""Trained on CT alone, the first modality (Du et al. 2024, appendix A)."""
