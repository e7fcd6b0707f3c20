"""Recorded runs of VoxTell's public predictor, and the network that it was run with as a converted folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.networks.recorded_voxtell import FOLDER, read_network
from tests.samples.slice_weights import save_manifest
from vesal.inference.prompts.text_bank import read_text_bank, write_text_bank
from vesal.weights.convert.graphs import save_graphs
from vesal.weights.convert.voxtell_graphs import voxtell_graphs

WINDOW = (64, 64, 64)
PROMPTS = ("liver", "left kidney", "Aorta")
ROLES = ("window", "text", "prompt")


def write_recorded_weights(shared: Path, folder: Path) -> Path:
    """The reduced network of the recorded runs, exported in fp32, with its bank."""
    model = shared / FOLDER / "model"
    network = read_network(model / "voxtell_v1.1/fold_0/checkpoint_final.pth")
    graphs = voxtell_graphs(network, WINDOW, folder / "exported.onnx")
    save_graphs({f"{role}.onnx": graphs[role] for role in ROLES}, folder, "weights.bin", False)
    bank = read_text_bank(model / "embeddings/voxtell_v1.1/text_embeddings.npz")
    write_text_bank(folder / "bank.npz", bank)
    stage = {
        "name": "whole",
        "role": "locate",
        "window_voxels": 64**3,
        "max_windows": 4096,
        "layout": {"kind": "window", "window_dhw": WINDOW},
    }
    return save_manifest(
        folder,
        [*(f"{role}.onnx" for role in ROLES), "weights.bin", "bank.npz"],
        name="recorded-voxtell",
        family="voxtell",
        graphs={role: f"{role}.onnx" for role in ROLES},
        bank="bank.npz",
        network={"window_dhw": WINDOW, "text": bank.width},
        stages=[stage],
        targets=[],
    )


class Run:
    """One recorded case with one step of the windows, 0.5 or 0.75 of them."""

    def __init__(self, shared: Path, case: str, step: int) -> None:
        """``step`` in percent."""
        self.folder, self.case, self.step = shared / FOLDER / "pipeline", case, step
        self.stored = np.load(self.folder / f"{case}.npz")
        told: dict[str, Any] = json.loads((self.folder / "pipeline.json").read_text())[case]
        self.shape = tuple(told["masks_shape"])

    def of_step(self, name: str) -> np.ndarray:
        """What was recorded with this step."""
        return np.asarray(self.stored[f"s{self.step}_{name}"])

    @property
    def masks(self) -> np.ndarray:
        """(N, z, y, x) bool: masks of the whole image with sums in 32 bits."""
        bits = self.of_step("masks_bits") ^ self.of_step("masks_fp32_xor_bits")
        return np.unpackbits(bits, count=int(np.prod(self.shape))).reshape(self.shape).astype(bool)
