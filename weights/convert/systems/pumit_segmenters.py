"""PUMIT's segmenters of abdominal organs, fine-tuned from SPAD-ViT-B for BTCV and CHAOS (Luo et al. 2023,
section 5.3 and appendix F).

The checkpoints are Lightning's: weights below ``state_dict``. Spacing and window are as released; the overlap
is that of the released class, a half, the paper measures with three quarters. Classes are numbered as the two
challenges number their labels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch

from vesal.inference.data.terms import MODALITIES
from vesal.inference.planning.manifest import Provenance
from vesal.networks.spad_segmentation import (
    PATCH_WEIGHT,
    SPAD_BTCV,
    SPAD_CHAOS,
    SegmentationSizes,
    SpadSegmentation,
    seen_blocks,
    segmentation_sizes_of,
)
from vesal.weights.convert.closed_list import ClosedListSystem
from vesal.weights.convert.errors import CheckpointError
from vesal.weights.convert.keymap import Part, Shapes, unwrapped
from vesal.weights.convert.parts import count_layers
from vesal.weights.convert.system import PROFILES, PublishedFile

LEVEL = "model."
"""Before all names where the network was saved below its training module."""
BACKBONE_ALONE = ("mask_token", "cls_token", "patch_embed.proj.weight")


def our_names(published: Iterable[str]) -> dict[str, str]:
    """Our name of every tensor -> its name in the file.

    Raises:
        CheckpointError: two names are one without what torch's wrappers put into them.
    """
    found: dict[str, str] = {}
    for theirs in published:
        ours = unwrapped(theirs).removeprefix(LEVEL)
        if ours in found:
            raise CheckpointError(
                f"The file holds {found[ours]} and {theirs}, two tensors for {ours}; which one is meant "
                "cannot be known. Save one network without the other."
            )
        found[ours] = theirs
    return found


def backbone_alone(published: Iterable[str]) -> str | None:
    """What a file is that holds the pre-trained backbone and no decoder; None of any other."""
    names = {unwrapped(name) for name in published}
    if not names.intersection(BACKBONE_ALONE):
        return None
    return (
        "holds the pre-trained backbone without a decoder (as pumit-b.ckpt does), so nothing can be "
        "segmented with it. Give the file of a segmenter that was fine-tuned, or convert it as `pumit` to "
        "begin a training with."
    )


def _expected(known: SegmentationSizes) -> Part[SpadSegmentation]:
    """The network of a file, with its names from whatever part of it is there."""

    def expected(shapes: Shapes) -> list[str]:
        is_published = shapes.get(PATCH_WEIGHT, (0,))[0] == known.backbone.width
        layers = count_layers(shapes, "backbone.blocks.{}.", known.backbone.layers, is_published)
        sizes = replace(known, backbone=replace(known.backbone, layers=layers), after=seen_blocks(layers))
        with torch.device("meta"):
            return list(SpadSegmentation(sizes).state_dict())

    def build(shapes: Shapes) -> SpadSegmentation:
        return SpadSegmentation(segmentation_sizes_of(shapes))

    return Part("a segmenter of PUMIT", build, expected, our_names, refusal=backbone_alone)


def _multiple(network: SpadSegmentation) -> tuple[int, int, int]:
    """The coarsest feature map has half of the patches along each axis."""
    d, h, w = network.sizes.backbone.patch_dhw(network.sizes.degree)
    return 2 * d, 2 * h, 2 * w


def _system(name: str, title: str, known: SegmentationSizes, modality: str) -> ClosedListSystem:
    file = PublishedFile(
        "checkpoint", "all", "the segmenter, .ckpt or .safetensors", f"PUMIT's {title} segmenter"
    )
    return ClosedListSystem(
        name=name,
        title=f"PUMIT's segmenter for {title}",
        files=(file,),
        network=_expected(known),
        channels=lambda network: network.sizes.backbone.channels,
        multiple_dhw=_multiple,
        provenance=Provenance(
            paper="Luo et al. 2023, Building Universal Foundation Models for Medical Image Analysis with "
            "Spatially Adaptive Networks",
            repository="https://github.com/function2-llx/PUMIT",
            commit="67218a2",
            modalities=(modality,),
        ),
        profile=PROFILES / name / "profile",
    )


PUMIT_BTCV = _system("pumit-btcv", "BTCV", SPAD_BTCV, MODALITIES[0])
PUMIT_CHAOS = _system("pumit-chaos", "CHAOS", SPAD_CHAOS, MODALITIES[1])
