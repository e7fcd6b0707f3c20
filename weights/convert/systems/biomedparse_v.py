"""BiomedParse-V (Zhao et al. 2025): slices with their neighbours, one file with its text encoder inside.

The checkpoint is Lightning's: weights below ``state_dict``, each name behind ``model.``; the published loader
takes that prefix off wherever it stands and leaves two entries of the training's loss out, as is done here.
Means and deviations of grey levels are those of the file, where it has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from vesal.inference.data.terms import MODALITIES
from vesal.inference.planning.manifest import Provenance
from vesal.networks.biomedparse_v import (
    BACKBONE,
    BIOMEDPARSE_V,
    PIXEL,
    PREDICTOR,
    TEXT,
    BiomedParseSizes,
    BiomedParseV,
    biomedparse_sizes_of,
)
from vesal.weights.convert.biomedparse_graphs import biomedparse_graphs
from vesal.weights.convert.clip_tokenizer import write_clip_tokenizer
from vesal.weights.convert.errors import CheckpointError
from vesal.weights.convert.keymap import Part, Shapes, unwrapped
from vesal.weights.convert.one_file import OneFileSystem
from vesal.weights.convert.parts import count_indices, count_layers
from vesal.weights.convert.slice_verify import measure_slices
from vesal.weights.convert.system import PROFILES, PublishedFile

PREFIX = "model."
TRAINING_ONLY = frozenset(
    {"loss_function.loss_fn.dice_loss.class_weight", "loss_function.cls_loss_fn.pos_weight"}
)
"""What the training's loss keeps in the file."""
DEFAULTS = frozenset({"pixel_mean", "pixel_std"})
"""Buffers of grey levels, whose values in the file win; without them the published configuration's hold."""
UNUSED = frozenset({f"{PREDICTOR}class_embed", f"{PREDICTOR}language_encoder.logit_scale"})
"""Parameters that take no part in masks, edges and existence: a file may lack them."""
HEAD_WIDTH, LEAST_HEADS = 64, 4
"""Channels of a head in the published network; reduced ones have no fewer than so many heads."""


def our_names(published: Iterable[str]) -> dict[str, str]:
    """Our name of every tensor of the network -> its name in the file.

    Raises:
        CheckpointError: two names are one without their prefixes.
    """
    found: dict[str, str] = {}
    for theirs in published:
        ours = unwrapped(unwrapped(theirs).removeprefix(PREFIX))
        if ours in TRAINING_ONLY:
            continue
        if ours in found:
            raise CheckpointError(
                f"The file holds {found[ours]} and {theirs}, two tensors for {ours}; which one is meant "
                "cannot be known. Save one network without the other."
            )
        found[ours] = theirs
    return found


def heads_of(shapes: Shapes) -> int:
    """Heads of every attention, which no shape tells: as wide as those of the published network."""
    width = shapes[f"{PREDICTOR}query_feat_.weight"][1]
    return max(LEAST_HEADS, width // HEAD_WIDTH)


def _build(shapes: Shapes) -> BiomedParseV:
    return BiomedParseV(biomedparse_sizes_of(shapes, heads_of(shapes)))


def _expected(shapes: Shapes) -> list[str]:
    """Names of all tensors; a network of the published width has no fewer layers than that one."""
    with torch.device("meta"):
        return list(BiomedParseV(_at_least(shapes)).state_dict())


def _at_least(shapes: Shapes) -> BiomedParseSizes:
    known = BIOMEDPARSE_V
    width = shapes.get(f"{PREDICTOR}query_feat_.weight", (0, 0))[-1]
    is_published = width == known.decoder.width
    stages = range(len(known.backbone.depths))
    depths = [
        count_layers(
            shapes, f"{BACKBONE}layers.{stage}.blocks.{{}}.", known.backbone.depths[stage], is_published
        )
        for stage in stages
    ]
    levels = count_indices(
        shapes, f"{BACKBONE}layers.{{any}}.blocks.{{any}}.modulation.focal_layers.{{}}.", 4
    )
    return replace(
        known,
        backbone=replace(known.backbone, depths=tuple(depths), kernels=(1,) * levels),
        pixel=replace(
            known.pixel,
            layers=count_layers(
                shapes, f"{PIXEL}transformer.encoder.layers.{{}}.", known.pixel.layers, is_published
            ),
        ),
        decoder=replace(
            known.decoder,
            layers=count_layers(
                shapes, f"{PREDICTOR}transformer_ffn_layers.{{}}.", known.decoder.layers, is_published
            ),
        ),
        text=replace(
            known.text, layers=count_layers(shapes, f"{TEXT}resblocks.{{}}.", known.text.layers, is_published)
        ),
    )


def _facts(network: BiomedParseV) -> dict[str, Any]:
    """What the family needs to know of a network, and people want to."""
    sizes = network.sizes
    return {
        "channels": sizes.decoder.width,
        "heads": sizes.decoder.heads,
        "queries": sizes.decoder.queries,
        "edge_queries": sizes.decoder.edge_queries,
        "layers": sizes.decoder.layers,
        "words": sizes.text.context,
        "vocabulary": sizes.text.vocabulary,
        "multiple": sizes.side_multiple,
        "pixel_mean": float(network.pixel_mean.mean()),
        "pixel_std": float(network.pixel_std.mean()),
    }


BIOMEDPARSE = OneFileSystem(
    name="biomedparse-v",
    title="BiomedParse-V",
    files=(PublishedFile("checkpoint", "all", "the network, .ckpt or .safetensors", "biomedparse_v2.ckpt"),),
    tokenizer=PublishedFile(
        "tokenizer", "text", "the folder of CLIP's tokenizer", "openai/clip-vit-base-patch32"
    ),
    family="biomedparse-v",
    network=Part("BiomedParse-V", _build, _expected, our_names, DEFAULTS | UNUSED),
    graphs=biomedparse_graphs,
    measure=measure_slices,
    facts=_facts,
    write_tokenizer=write_clip_tokenizer,
    provenance=Provenance(
        paper="Zhao et al. 2025, BiomedParse-V: Scaling Foundation Model for Universal Text-guided "
        "Volumetric Biomedical Image Segmentation",
        repository="https://github.com/microsoft/BiomedParse",
        commit="f571d5c",
        modalities=MODALITIES,
    ),
    profile=PROFILES / "biomedparse-v" / "profile",
    sees_slices=True,
)
"""The sources of the facts name no licence of the weights, which are given out on request."""
