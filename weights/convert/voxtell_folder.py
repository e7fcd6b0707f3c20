"""The published folder of VoxTell: where its files lie, and whether its plans are those of its checkpoint.

As released, ``voxtell_v1.1`` holds ``plans.json`` and ``fold_0/checkpoint_final.pth``, and the bank of text
embeddings lies beside it, in ``embeddings/voxtell_v1.1``. Of the plans the configuration ``3d_fullres``
counts: its window, and the arguments of its encoder, all of which shapes tell as well or are one number.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vesal.inference.data.errors import shown
from vesal.networks.unet import NORM_EPSILON, SLOPE
from vesal.networks.voxtell import VoxTellSizes
from vesal.weights.convert.errors import CheckpointError
from vesal.weights.convert.voxtell_graphs import Sides

MODEL, OLD_MODEL = "voxtell_v1.1", "voxtell_v1.0"
PLANS, WEIGHTS, BANK = "plans.json", "fold_0/checkpoint_final.pth", "text_embeddings.npz"
CONFIGURATION = "3d_fullres"


@dataclass(frozen=True)
class PublishedFiles:
    """Of one model."""

    plans: Path
    checkpoint: Path
    bank: Path


def find_files(folder: Path, bank: Path | None = None) -> PublishedFiles:
    """Find the files of the model in ``folder``, which is its own or the one that holds it and the bank.

    Args:
        folder: see above.
        bank: of text embeddings, where it lies elsewhere.

    Raises:
        CheckpointError: a file is not there; the message says where it was looked for.
    """
    model = _model_folder(folder)
    # As published, or all files in one folder.
    checkpoint = next((path for path in _weights_places(model) if path.is_file()), None)
    if checkpoint is None:
        raise CheckpointError(
            f"{model} holds no {WEIGHTS}, the published weights (1.7 GB), beside its {PLANS}. Fetch them."
        )
    places = [bank] if bank else _bank_places(model)
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise CheckpointError(
            f"There is no bank of text embeddings at {' or '.join(map(str, places))}, without which nothing "
            f"can be asked. Fetch embeddings/{MODEL}/{BANK}, which is published beside the weights, or name "
            "the file."
        )
    return PublishedFiles(model / PLANS, checkpoint, found)


def _model_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder; wanted is the published {MODEL}, or what holds it.")
    # `.` has no name and no folder above.
    folder = folder.resolve()
    for model in (folder, folder / MODEL):
        if (model / PLANS).is_file() and model.name != OLD_MODEL:
            return model
    if folder.name == OLD_MODEL or (folder / OLD_MODEL).is_dir():
        raise CheckpointError(
            f"{folder} holds VoxTell v1.0, which its authors have replaced and whose network is another one. "
            f"Fetch {MODEL}."
        )
    names = sorted(path.name for path in folder.iterdir())[:8]
    raise CheckpointError(
        f"{folder} holds {', '.join(map(shown, names)) or 'nothing'}, and neither {PLANS} nor "
        f"{MODEL}/{PLANS}. Give the published folder {MODEL}, or the one that holds it."
    )


def _weights_places(model: Path) -> list[Path]:
    return [model / WEIGHTS, model / Path(WEIGHTS).name]


def _bank_places(model: Path) -> list[Path]:
    """Where the bank of a model may lie: as published, then in it, beside its files, and above it."""
    names = dict.fromkeys((model.name, MODEL))
    published = [Path("embeddings", name, BANK) for name in names]
    above = model.parent
    return [folder / path for folder in (above, model) for path in published] + [model / BANK, above / BANK]


def read_window(path: Path, sizes: VoxTellSizes) -> Sides:
    """The window (d, h, w) of a file of plans.

    Args:
        path: the file.
        sizes: of the checkpoint, with which the plans must agree.

    Raises:
        CheckpointError: they are no plans, or those of another network; everything that differs is named.
    """
    try:
        plans = json.loads(path.read_text(encoding="utf-8"))
        about = plans["configurations"][CONFIGURATION]
        sides, architecture = about["patch_size"], about["architecture"]
        given = dict(architecture["arch_kwargs"])
        if not (len(sides) == 3 and all(type(side) is int and side > 0 for side in sides)):
            raise ValueError(f"`patch_size` is {sides}")
        if not isinstance(given.get("nonlin_kwargs"), Mapping | None):
            raise ValueError(f"`nonlin_kwargs` is {shown(given['nonlin_kwargs'])}")
        d, h, w = sides
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is no plans.json of VoxTell ({type(error).__name__}: {error}); wanted is "
            f"`configurations.{CONFIGURATION}` with `patch_size` and `architecture.arch_kwargs`. Fetch it "
            "again."
        ) from None
    # As released, of the architecture its arguments count, and not the name of its class.
    wrong = _differences(given, sizes) + _wrong_window((d, h, w), sizes)
    if wrong:
        raise CheckpointError(
            f"{path} does not describe the network of VoxTell's checkpoint beside it: {'; '.join(wrong)}. "
            f"Give {PLANS} and {WEIGHTS} of one published model, {MODEL}."
        )
    return d, h, w


def _wrong_window(window: Sides, sizes: VoxTellSizes) -> list[str]:
    step, stride = sizes.side_multiple, sizes.token_stride
    shape = " x ".join(map(str, window))
    if any(side % step for side in window):
        return [f"`patch_size` is {shape}, whose sides must be multiples of {step}"]
    d, h, w = (side // stride for side in window)
    tokens = d * h * w
    if tokens != sizes.tokens:
        return [f"`patch_size` is {shape}, of {tokens} tokens, while `pos_embed` is for {sizes.tokens}"]
    return []


def _differences(given: Mapping[str, Any], sizes: VoxTellSizes) -> list[str]:
    """What the arguments of the encoder say that is not so in the network that is built here."""
    wanted = {
        "n_stages": len(sizes.features),
        "features_per_stage": list(sizes.features),
        "kernel_sizes": [[3, 3, 3]] * len(sizes.features),
        "strides": [[1, 1, 1], *[[2, 2, 2]] * (len(sizes.features) - 1)],
        "n_blocks_per_stage": list(sizes.blocks),
        "n_conv_per_stage_decoder": [1] * (len(sizes.features) - 1),
        "conv_bias": True,
        "norm_op_kwargs": {"eps": NORM_EPSILON, "affine": True},
        "dropout_op": None,
    }
    operations = {"conv_op": "Conv3d", "norm_op": "InstanceNorm3d", "nonlin": "LeakyReLU"}
    free = {"dropout_op_kwargs", "nonlin_kwargs"}
    found = [
        f"`{name}` is {shown(given[name]) if name in given else 'missing'}, wanted is {value}"
        for name, value in wanted.items()
        if name not in given or _spread(given[name], value) != value
    ]
    found += [
        f"`{name}` is {shown(given.get(name))}, wanted is {value}"
        for name, value in operations.items()
        if str(given.get(name)).rsplit(".", 1)[-1] != value
    ]
    slope = (given.get("nonlin_kwargs") or {}).get("negative_slope", SLOPE)
    found += [] if slope == SLOPE else [f"`nonlin_kwargs.negative_slope` is {slope}, wanted is {SLOPE}"]
    unknown: Sequence[str] = sorted(set(given) - set(wanted) - set(operations) - free)
    return found + [f"`{name}` is not known" for name in unknown]


def _spread(given: Any, like: Any) -> Any:
    """One number that stands for all, of stages or of axes, as the released encoder takes it."""
    if not isinstance(like, list):
        return given
    if type(given) is int:
        given = [given] * len(like)
    if not isinstance(given, list) or len(given) != len(like):
        return given
    return [_spread(one, other) for one, other in zip(given, like, strict=True)]
