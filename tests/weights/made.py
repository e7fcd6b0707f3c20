"""Tiny networks in the container of the published files."""

import string
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from vesal.networks.medal_s import MedalS
from vesal.networks.mpnet_text import MPNetText, TextSizes
from vesal.networks.sat import Sat, Sizes

FEATURES = (4, 4, 8, 8, 8, 8)
WORDS = ["<s>", "<pad>", "</s>", "<unk>", "[PAD]", "[UNK]", "[CLS]", "[SEP]"]
VOCABULARY = [*WORDS, *string.ascii_lowercase, *(f"##{c}" for c in string.ascii_lowercase), "liver", "<mask>"]


@dataclass(frozen=True)
class Made:
    """Networks, the files that they were written to, and the command line that names these."""

    networks: dict[str, Sat]
    encoder: MPNetText
    arguments: list[str]
    out: Path


def randomised(module: nn.Module, seed: int) -> nn.Module:
    """Weights that are always the same; norms too, which would be ones and zeros."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            around = 1.0 if "norm" in name.lower() and name.endswith("weight") else 0.0
            spread = 0.3 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
            parameter.copy_(around + spread * torch.randn(parameter.shape, generator=g))
    return module.eval()


def save(module: nn.Module, path: Path) -> Path:
    """Write as the published training does: prefixed, convolutions and norms under two names."""
    state = {}
    for name, value in module.state_dict().items():
        state[f"module.{name}"] = value
        for first, second in ((".conv.", ".all_modules.0."), (".norm.", ".all_modules.1.")):
            if ".convs." in name and first in name:
                state[f"module.{name.replace(first, second)}"] = value
    torch.save({"step": 7, "model_state_dict": state}, path)
    return path


def make(folder: Path, system: str, modalities: int = 5, width: int = 24) -> Made:
    """Files of one system below ``folder``; the coarse one's name tells 64 x 64 x 32 (h, w, d) as window."""
    encoder = randomised(MPNetText(TextSizes(len(VOCABULARY), 300, 24, 32, 2, 12, 32, 24, modalities)), 5)
    tokenizer = folder / "BioLORD"
    tokenizer.mkdir(parents=True)
    (tokenizer / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    text = ["--text", str(save(encoder, folder / "text.pth")), "--tokenizer", str(tokenizer)]
    out = ["-o", str(folder / "out"), "--store", "fp32"]
    if system == "sat":
        network = randomised(Sat(Sizes(3, FEATURES, 2, width, 24, 16, 32, 2)), 1)
        names = ["--model", str(save(network, folder / "nano.pth"))]
        return Made({"fine": network}, encoder, ["sat", *names, *text, *out], folder / "out")
    networks = {
        stage: randomised(MedalS(Sizes(2, FEATURES, 2, width, 24, 16, 32, 2)), seed)
        for seed, stage in enumerate(("coarse", "fine"))
    }
    names = [
        "--stage1",
        str(save(networks["coarse"], folder / "a_crop_size_64_64_32_spacing_1.5_1.5_3.0_step_7.pth")),
        "--stage2",
        str(save(networks["fine"], folder / "b.pth")),
    ]
    return Made(networks, encoder, ["medal-s", *names, *text, *out], folder / "out")
