"""Begin from an encoder that was pre-trained without labels: here (``training/pretrain``), or a published one
(``weights/convert/backbone.py``).
"""

from __future__ import annotations

import logging
from pathlib import Path
from pickle import UnpicklingError
from typing import cast
from zipfile import is_zipfile

import torch

from vesal.networks.spad_prompted import SpadPrompted
from vesal.networks.spad_vit import SpadVit
from vesal.training.loop import Trainer
from vesal.training.pretrain.learn import ENCODER
from vesal.training.vit import BackboneError, read_converted, vit_of


def read_encoder(folder: Path) -> dict[str, torch.Tensor]:
    """Tensor name -> values of ``folder/encoder.pt``. Raises BackboneError."""
    path = folder / ENCODER
    if not path.is_file():
        raise BackboneError(
            f"{folder} holds no {ENCODER}; give the folder that `python -m vesal.training.pretrain` or "
            "`python -m vesal.weights.convert pumit` wrote"
        )
    damaged = BackboneError(f"{path} is no file of an encoder; pre-train again, or copy it again")
    if not is_zipfile(path):  # torch would take it for an older format, and fail in many ways
        raise damaged
    try:
        state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    except (RuntimeError, UnpicklingError) as error:
        raise damaged from error
    return state


def read_vit(folder: Path) -> SpadVit | None:
    """The SPAD-ViT of a folder; None where it holds the default network's encoder.

    Raises BackboneError, or CheckpointError, where it holds neither.
    """
    from vesal.weights.convert.backbone import ABOUT  # imported here: conversion needs more than training

    if (folder / ABOUT).exists():
        return read_converted(folder)
    return vit_of(read_encoder(folder))


def begin_from_vit(trainer: Trainer, vit: SpadVit) -> None:
    """Give a run that has not begun a SPAD-ViT of the sizes of its plan; other parts begin as they are."""
    model = cast(SpadPrompted, trainer.model)
    model.begin_from(vit.state_dict())
    trainer.average = {name: value.clone() for name, value in model.state_dict().items()}


def begin_from(trainer: Trainer, folder: Path) -> None:
    """Give a run that has not begun the encoder of ``folder``; its other parts begin as they are.

    Raises BackboneError where the encoder is of another network or of other widths.
    """
    found, state = read_encoder(folder), trainer.model.state_dict()
    fits = {name: value for name, value in found.items() if name in state}
    if not fits:
        raise BackboneError(f"{folder} holds an encoder of another network: none of its tensors fits")
    wrong = [name for name, value in fits.items() if value.shape != state[name].shape]
    if wrong:
        name = wrong[0]
        raise BackboneError(
            f"{folder}: {name} is {tuple(fits[name].shape)}, the network's is {tuple(state[name].shape)}; "
            "give the --widths that the encoder was pre-trained with"
        )
    trainer.model.load_state_dict(state | fits)
    trainer.average = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    logging.info("%d tensors of the encoder from %s", len(fits), folder)
