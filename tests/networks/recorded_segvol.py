"""The reduced SegVol of the fixtures, its recorded prompts, and the published list of its full size."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from vesal.networks.point_prompts import sparse_tokens
from vesal.networks.segvol import SegVol, segvol_sizes_of
from vesal.weights.text.export import read_safetensors

FOLDER = "fixtures/segvol"
HEADS = 4
"""Of image and text encoder."""
TOLERANCE = 1e-4
"""Largest difference of what was recorded, as a share of its range."""
COMBINATIONS = (
    *("text", "box", "point", "text_box", "text_point", "box_point", "text_box_point"),
    "text2",
)


class Asked(NamedTuple):
    """Prompts as the decoder takes them, in the order of its arguments."""

    coordinates: Tensor
    """(N, T, 3)"""
    kinds: Tensor
    """(N, T)"""
    text: Tensor
    """(N, C)"""
    with_text: Tensor
    """(N,)"""


def read_weights(shared: Path) -> dict[str, Tensor]:
    """Tensors by the names of the file, which are those of transformers 5."""
    return read_safetensors((shared / FOLDER / "net_weights.safetensors").read_bytes())


def with_level(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same under the names of transformers 4, which the published file has."""
    return {
        name.replace("clip_text_model.", "clip_text_model.text_model."): value
        for name, value in tensors.items()
    }


def recorded_network(shared: Path) -> SegVol:
    """The recorded network with its weights."""
    tensors = with_level(read_weights(shared))
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    network = SegVol(segvol_sizes_of(shapes, HEADS, HEADS))
    network.load_state_dict(tensors)
    return network.eval()


def read_recorded(shared: Path) -> dict[str, Tensor]:
    """All arrays, as recorded; some may be kept back."""
    with np.load(shared / FOLDER / "net_io.npz") as stored:
        return {name: torch.from_numpy(stored[name]) for name in stored.files}


def asked_of(recorded: dict[str, Tensor], combination: str) -> Asked:
    """The prompts of a combination: its texts are both, the second for all three kinds, or the first."""
    texts = {"text2": slice(0, 2), "text_box_point": slice(1, 2)}.get(combination, slice(0, 1))
    text = recorded["text_embedding"][texts]
    has_text = "text" in combination
    has_points = "point" in combination
    coordinates, kinds = sparse_tokens(
        recorded["points"] if has_points else None,
        recorded["point_labels"] if has_points else None,
        recorded["box"] if "box" in combination else None,
        has_text,
    )
    prompts = len(text)
    return Asked(
        coordinates.expand(prompts, -1, -1),
        kinds.expand(prompts, -1),
        text if has_text else torch.zeros_like(text),
        torch.full((prompts,), float(has_text)),
    )


def read_shapes(shared: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of all published tensors by their names, as they are expected in the file."""
    found = {}
    for line in (shared / "reference/segvol_state_dict_published_expected.txt").read_text().splitlines():
        if "\t" in line and not line.startswith("#"):
            name, shape, _ = line.split("\t")
            found[name] = tuple(int(n) for n in shape.strip("(),").split(",") if n)
    return found


def assert_recorded(ours: Tensor | np.ndarray, recorded: Tensor) -> None:
    """Equal within ``TOLERANCE`` of the recorded range, in the same shape."""
    ours, wanted = np.asarray(ours), recorded.numpy()
    assert ours.shape == wanted.shape
    assert np.abs(ours - wanted).max() <= TOLERANCE * np.ptp(wanted)
