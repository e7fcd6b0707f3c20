"""The reduced BiomedParse-V in the containers of the published files, and a tiny CLIP tokenizer."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.networks.recorded_biomedparse_v import read_weights

FIRST, LAST = "<|startoftext|>", "<|endoftext|>"
MERGES = ("l i", "li v", "e r</w>", "liv er</w>")
TRAINING_ONLY = ("loss_function.loss_fn.dice_loss.class_weight", "loss_function.cls_loss_fn.pos_weight")


def write_safetensors(tensors: Mapping[str, Tensor], path: Path, dtype: str = "F32") -> Path:
    """A file in the format safetensors; bfloat16 where ``dtype`` is ``BF16``."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    blocks, end = [], 0
    for name, tensor in tensors.items():
        if dtype == "BF16":
            block = tensor.bfloat16().view(torch.int16).numpy().tobytes()
        else:
            block = tensor.float().numpy().tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": list(tensor.shape),
            "data_offsets": [end, end + len(block)],
        }
        blocks.append(block)
        end += len(block)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blocks))
    return path


def write_lightning(tensors: Mapping[str, Tensor], path: Path, prefix: str = "model.") -> Path:
    """A checkpoint as Lightning writes it, with the training's own entries and the optimizer's state."""
    state = {f"{prefix}{name}": value for name, value in tensors.items()}
    state |= {f"{prefix}{name}": torch.ones(3) for name in TRAINING_ONLY}
    moments = {
        number: {"step": torch.tensor(7.0), "exp_avg": value.clone(), "exp_avg_sq": value.clone()}
        for number, value in enumerate(tensors.values())
    }
    groups = [{"lr": 1e-4, "betas": (0.9, 0.999), "params": list(moments)}]
    content = {
        "epoch": 3,
        "global_step": 1234,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
        "optimizer_states": [{"state": moments, "param_groups": groups}],
        "lr_schedulers": [],
    }
    torch.save(content, path)
    return path


def write_tokenizer(folder: Path, tokens: int = 512) -> Path:
    """``vocab.json`` and ``merges.txt`` of CLIP's kind: bytes, bytes that end a word, pairs, two marks."""
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    pairs = ["".join(merge.split()) for merge in MERGES]
    words = [*letters, *(f"{letter}</w>" for letter in letters if letter.isascii()), *pairs]
    words += [f"unused{n}" for n in range(tokens - 2 - len(words))] + [FIRST, LAST]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
    (folder / "merges.txt").write_text("\n".join(("#version: 0.2", *MERGES)) + "\n")
    return folder


def convert_arguments(shared: Path, folder: Path) -> list[str]:
    """The command that converts the reduced network, from a checkpoint of Lightning's below ``folder``."""
    path = write_lightning(read_weights(shared, ""), folder / "biomedparse_v2.ckpt")
    tokenizer = write_tokenizer(folder / "clip")
    files = ["--checkpoint", str(path), "--tokenizer", str(tokenizer), "--out", str(folder / "out")]
    return ["biomedparse-v", *files, "--store", "fp32", "--precision", "fp32"]
