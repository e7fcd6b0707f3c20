"""The text-prompted network on a SPAD-ViT in training: made for a plan, begun from a backbone, exported.

Everything else of a run is the default network's: views, losses, optimisers, checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vesal.inference.data.errors import VesalError
from vesal.inference.planning.weights_folder import MANIFEST
from vesal.networks.nano import IMAGE_CHANNELS, Nano, Widths, deeper_of, widths_of
from vesal.networks.spad_prompted import PromptedSizes, SpadPrompted
from vesal.networks.spad_vit import SpadVit, SpadVitSizes, spad_vit_sizes_of
from vesal.training.export import CHECKPOINT, DEFAULT
from vesal.training.export_spad import BANK, export_prompted, manifest_of, rounded
from vesal.training.plan import Plan
from vesal.weights.digest import sha256

PRETRAINED = "network."
"""Before the names of a SPAD-ViT that was pre-trained here."""
LATERAL = "laterals.{}.weight"


class BackboneError(VesalError, ValueError):
    """A folder holds no encoder of the network that is to begin from it."""


def read_converted(folder: Path) -> SpadVit:
    """The backbone of a folder that ``weights.convert pumit`` wrote.

    Raises:
        BackboneError: its weights are not those that ``backbone.json`` tells of.
        CheckpointError: the weights cannot be read, or lack tensors.
    """
    # Imported here: conversion needs more than numpy, torch and onnx, which are enough for training.
    from vesal.weights.convert.backbone import ABOUT, WEIGHTS, read_backbone
    from vesal.weights.convert.systems.pumit import PUMIT

    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        digest = about["files"][WEIGHTS]["sha256"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BackboneError(
            f"{folder / ABOUT} does not tell of {WEIGHTS} ({error}); convert the backbone again"
        ) from error
    path = folder / WEIGHTS
    if not path.is_file() or sha256(path) != digest:
        raise BackboneError(
            f"{path} is not the file that {ABOUT} tells of: lost, cut short or changed; convert the backbone "
            "again"
        )
    network: SpadVit = read_backbone(PUMIT, path)
    return network


def vit_of(encoder: Mapping[str, Tensor]) -> SpadVit | None:
    """The SPAD-ViT that was pre-trained here, of an encoder's tensors; None where they are of another."""
    state = {
        name.removeprefix(PRETRAINED): value for name, value in encoder.items() if name.startswith(PRETRAINED)
    }
    if "patch_embed.proj.weight" not in state:
        return None
    network = SpadVit(spad_vit_sizes_of({name: tuple(value.shape) for name, value in state.items()}))
    network.load_state_dict(state)
    return network


def prompted_sizes(backbone: SpadVitSizes, widths: Widths) -> PromptedSizes:
    """Sizes of the network on a backbone, of which it sees what is there after each third of the blocks."""
    thirds = [max(backbone.layers * share // 3, 1) - 1 for share in (1, 2, 3)]
    own = replace(backbone, channels=IMAGE_CHANNELS)
    return PromptedSizes(own, (thirds[0], thirds[1], thirds[2]), widths)


def network_of(plan: Plan) -> Nano:
    """A new network as the plan wants it: the default one, or that on a SPAD-ViT."""
    ideas = plan.ideas
    if plan.backbone is None:
        return Nano(plan.widths, ideas.foreground, ideas.alignment, ideas.cutoff, plan.deeper)
    network = SpadPrompted(prompted_sizes(plan.backbone, plan.widths))
    network.foreground, network.alignment, network.cutoff = ideas.foreground, ideas.alignment, ideas.cutoff
    return network


def check_resumed(path: Path, state: Mapping[str, Tensor], plan: Plan) -> None:
    """Raise ValueError where a checkpoint's network is not that of the plan."""
    is_vit = LATERAL.format(0) in state
    if is_vit != (plan.backbone is not None):
        found, wanted = ("SPAD-ViT", "nano's encoder") if is_vit else ("nano's encoder", "SPAD-ViT")
        raise ValueError(
            f"{path} holds a network on {found}, wanted {wanted}; give its --backbone to go on with it, or "
            "another --work"
        )
    if is_vit:
        laterals = (len(state[LATERAL.format(level)]) for level in range(3))
        a, b, c, d = (len(state["down.0.norm2.weight"]), *laterals)
        widths: Widths = (a, b, c, d)
    else:
        widths = widths_of(state)
    if widths != plan.widths:
        raise ValueError(
            f"{path} holds a network of widths {widths}, wanted {plan.widths}; give its --widths to "
            "go on with it, or another --work"
        )
    if deeper_of(state) != plan.deeper:
        raise ValueError(
            f"{path} holds a network with {deeper_of(state)} further blocks a level, wanted {plan.deeper}; "
            "give its --size to go on with it, or another --work"
        )


def export_vit(work: Path, out: Path, plan: Plan) -> None:
    """Write the averaged weights of ``work`` as a folder of the family ``spad``.

    A manifest that is there is kept, and its digests renewed, as ``export.export`` does. Views have the
    degrees that training showed.
    """
    assert plan.backbone is not None
    state = torch.load(work / CHECKPOINT, weights_only=True)["average"]
    model = rounded(state, prompted_sizes(plan.backbone, plan.widths))
    path = out / MANIFEST
    content = json.loads(path.read_text(encoding="utf-8")) if path.exists() else _first_manifest(out)
    export_prompted(model, work / BANK, out, content)


def _first_manifest(out: Path) -> dict[str, Any]:
    default = json.loads((DEFAULT / MANIFEST).read_text(encoding="utf-8"))
    targets = [entry | {"dsc": None} for entry in default["targets"]]
    content = manifest_of(out.resolve().name, targets, "that of the backbone that it began from")
    content["stages"] = [stage | {"layout": {"kind": "fit"}} for stage in content["stages"]]
    return content
