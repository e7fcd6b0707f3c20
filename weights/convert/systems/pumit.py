"""The SPAD-ViT-B that PUMIT pre-trained (SPAD-Nets, Luo et al. 2023, section 4.4), to be fine-tuned.

The checkpoint is Lightning's: weights below ``state_dict``. Besides the backbone it holds what pre-training
alone needs (``mask_token``, ``mim_head``); the published loader leaves out what it does not know, as is done
here. Three other files lie beside it or are made of it, and are told from it: the visual tokenizer, the
weights of EVA-02 that pre-training began from, and segmenters that were fine-tuned.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vesal.inference.data.terms import MODALITIES
from vesal.inference.planning.manifest import Provenance
from vesal.inference.runtime.choice import choose_runtime
from vesal.networks.spad import Anisotropy
from vesal.networks.spad_vit import SPAD_VIT_B, SpadVit, own_names, spad_vit_sizes_of
from vesal.weights.convert.backbone import BackboneSystem
from vesal.weights.convert.errors import CheckpointError
from vesal.weights.convert.keymap import Part, Shapes, unwrapped
from vesal.weights.convert.parts import count_layers
from vesal.weights.convert.spad_vit_graphs import (
    COLOURS,
    MEAN,
    STD,
    backbone_graphs,
    degrees_of,
    file_of,
    normalised,
)
from vesal.weights.convert.system import PublishedFile
from vesal.weights.convert.verify import SEED

PATCH = "patch_embed.proj.weight"
HEADS = ("seg_heads.", "decoder.", "fpn.", "norms.", "head.", "fc_norm.")
"""Beginnings of names that fine-tuning adds beside the backbone's own."""
LEVELS = ("backbone.", "model.backbone.", "encoder.")
"""Before the backbone's names in a fine-tuned network."""
GRID = (2, 3, 2)
"""Patches of the volume that is measured."""


def our_names(published: Iterable[str]) -> dict[str, str]:
    """Our name of every tensor of the backbone -> its name in the file; others are left out.

    Raises:
        CheckpointError: two names are one without what torch's wrappers put into them.
    """
    found: dict[str, str] = {}
    for theirs in published:
        for ours in own_names([unwrapped(theirs)]):
            if ours in found:
                raise CheckpointError(
                    f"The file holds {found[ours]} and {theirs}, two tensors for {ours}; which one is meant "
                    "cannot be known. Save one network without the other."
                )
            found[ours] = theirs
    return found


def other_file(published: Shapes) -> str | None:
    """What a file is that lies beside the wanted one, by its tensors; None of any other."""
    shapes = {unwrapped(name): shape for name, shape in published.items()}
    wanted = "wanted is the pre-trained backbone, pumit-b.ckpt."
    if any(f"{level}{PATCH}" in shapes for level in LEVELS) or (
        PATCH in shapes and any(name.startswith(HEADS) for name in shapes)
    ):
        return (
            "holds a network that was fine-tuned on the backbone, with a decoder or a head of its own, as "
            f"those for BTCV and CHAOS are, which convert as pumit-btcv and pumit-chaos; {wanted}"
        )
    is_flat = len(shapes.get(PATCH, ())) == 4 or len(shapes.get("pos_embed", ())) == 3
    if is_flat or any(".rope." in name or ".inner_attn_ln." in name for name in shapes):
        return (
            "holds EVA-02 (as in eva02_B_pt_in21k_p14.pt), a network for photographs that pre-training began "
            f"from: its patches and positions have no depth; {wanted}"
        )
    if not any(name.startswith("blocks.") for name in shapes) and any(
        part in name for name in shapes for part in ("quantize", "codebook", "encoder.", "decoder.", "vq")
    ):
        return f"holds the visual tokenizer (as simple-soft.ckpt does), and no backbone; {wanted}"
    return None


def _expected(shapes: Shapes) -> list[str]:
    """Names of all tensors; a network of the published width has no fewer layers than that one."""
    known = SPAD_VIT_B
    is_published = shapes.get(PATCH, shapes.get("norm.weight", (0,)))[0] == known.width
    layers = count_layers(shapes, "blocks.{}.", known.layers, is_published)
    with torch.device("meta"):
        return list(SpadVit(replace(known, layers=layers)).state_dict())


def _volume(network: SpadVit, degree: int) -> torch.Tensor:
    """A smooth, noisy grey volume (1, 1, D, H, W), 0..1, of ``GRID`` patches."""
    rng = np.random.default_rng(SEED)
    shape = [n * side for n, side in zip(GRID, network.sizes.patch_dhw(degree), strict=True)]
    d, h, w = (np.sin(np.linspace(0, 9, size)) for size in shape)
    smooth = 0.5 + 0.3 * d[:, None, None] * h[:, None] * w
    noisy = np.clip(smooth + rng.normal(0, 0.05, shape), 0, 1)
    return torch.from_numpy(noisy.astype(np.float32))[None, None]


@torch.no_grad()
def _features(network: SpadVit) -> list[np.ndarray]:
    """Normed tokens (1, 1 + S, width) of a synthetic volume, the class first, by degree."""
    network = network.eval()
    return [
        network(normalised(_volume(network, degree), network.sizes.channels), Anisotropy(degree)).numpy()
        for degree in degrees_of(network)
    ]


def _graph_features(network: SpadVit, folder: Path) -> list[np.ndarray]:
    """The same of the graphs in ``folder``, by ONNX Runtime."""
    runtime, found = choose_runtime("onnxruntime"), []
    for degree in degrees_of(network):
        volume = _volume(network, degree)
        if network.sizes.channels != COLOURS:
            volume = normalised(volume, network.sizes.channels)
        given = runtime.load(folder / file_of(degree), "fp32")({"image": volume.numpy()})
        tokens = given["features"].reshape(1, network.sizes.width, -1).swapaxes(1, 2)
        found.append(np.concatenate([given["volume"][:, None], tokens], 1))
    return found


def _facts(network: SpadVit) -> dict[str, Any]:
    """How an image is to be shown to it."""
    if network.sizes.channels != COLOURS:
        return {}
    return {"normalisation": {"grey": [0, 1], "channels": COLOURS, "mean": list(MEAN), "std": list(STD)}}


PUMIT = BackboneSystem(
    name="pumit",
    title="PUMIT's SPAD-ViT-B",
    files=(
        PublishedFile(
            "checkpoint", "all", "the pre-trained backbone, .ckpt or .safetensors", "pre-trained/pumit-b.ckpt"
        ),
    ),
    network=Part(
        "PUMIT's SPAD-ViT-B", lambda shapes: SpadVit(spad_vit_sizes_of(shapes)), _expected, our_names
    ),
    other_file=other_file,
    features=_features,
    graphs=backbone_graphs,
    graph_features=_graph_features,
    facts=_facts,
    provenance=Provenance(
        paper="Luo et al. 2023, Building Universal Foundation Models for Medical Image Analysis with "
        "Spatially Adaptive Networks",
        repository="https://github.com/function2-llx/PUMIT",
        commit="67218a2",
        modalities=MODALITIES[:3],
    ),
)
"""The sources of the facts name no licence."""
