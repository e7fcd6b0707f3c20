"""The reduced SegVol in the containers of the published files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.networks.recorded_segvol import read_weights, with_level
from tests.weights.made_biomedparse_v import write_tokenizer

POSITIONS = "text_encoder.clip_text_model.text_model.embeddings.position_ids"


def write_published(tensors: Mapping[str, Tensor], path: Path, prefix: str = "module.", **more: Any) -> Path:
    """A checkpoint as SegVol's training writes it, with the optimizer's and the schedule's state."""
    moments = {
        number: {"step": torch.tensor(7.0), "exp_avg": value.clone(), "exp_avg_sq": value.clone()}
        for number, value in enumerate(tensors.values())
    }
    content = {
        "model": {f"{prefix}{name}": value for name, value in tensors.items()},
        "epoch": 40,
        "optimizer": {"state": moments, "param_groups": [{"lr": 1e-4, "params": list(moments)}]},
        "scheduler": {"base_lrs": [1e-4], "last_epoch": 40, "_last_lr": [1e-5]},
        **more,
    }
    torch.save(content, path)
    return path


def convert_arguments(shared: Path, folder: Path) -> list[str]:
    """The command that converts the reduced network, from a checkpoint below ``folder``."""
    tensors = with_level(read_weights(shared)) | {POSITIONS: torch.arange(77)[None]}
    path = write_published(tensors, folder / "SegVol_v1.pth")
    tokenizer = write_tokenizer(folder / "clip")
    files = ["--checkpoint", str(path), "--tokenizer", str(tokenizer), "--out", str(folder / "out")]
    return ["segvol", *files, "--store", "fp32", "--precision", "fp32"]
