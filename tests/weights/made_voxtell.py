"""A small VoxTell in a folder as it is published."""

import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.weights.made import randomised
from vesal.networks.voxtell import VoxTell, VoxTellSizes

WINDOW = (16, 8, 24)
SIZES = VoxTellSizes(
    features=(4, 6, 8, 8),
    blocks=(1, 2, 1, 2),
    maps=3,
    width=16,
    inner=12,
    layers=2,
    text=10,
    text_inner=14,
    head_inner=18,
    tokens=48,
)
LABELS = ("liver", "left kidney", "Gallbladder", "aorta", "a thing that no vocabulary knows", "Aorta")
"""With capitals, and a label that comes twice."""


def made_network() -> VoxTell:
    """Random weights, exact in fp16."""
    network = randomised(VoxTell(SIZES), 3)
    network.load_state_dict({name: value.half().float() for name, value in network.state_dict().items()})
    network.pos_embed.copy_(torch.randn(network.pos_embed.shape, generator=torch.Generator().manual_seed(4)))
    assert isinstance(network, VoxTell)
    return network


def published_state(network: VoxTell) -> OrderedDict[str, Tensor]:
    """What a checkpoint holds: much of it twice and more, and what is never run."""
    state: OrderedDict[str, Tensor] = OrderedDict()
    for name, value in network.state_dict().items():
        inside = [name] + ([f"decoder.{name}"] if name.startswith("encoder.") else [])
        for each in inside:
            state[each] = value
            if ".convs.0." in each or ".conv1." in each or ".conv2." in each or ".skip.1." in each:
                part, kind = each.rsplit(".", 2)[0], each.rsplit(".", 2)[1:]
                state[f"{part}.all_modules.{('conv', 'norm').index(kind[0])}.{kind[1]}"] = value
    width = network.sizes.width
    for layer in range(network.sizes.layers):
        at = f"transformer_decoder.layers.{layer}"
        state[f"{at}.self_attn.in_proj_weight"] = torch.ones(3 * width, width)
        state[f"{at}.norm1.weight"] = torch.ones(width)
    for stage in range(len(network.sizes.features) - 1):
        state[f"decoder.seg_layers.{stage}.bias"] = torch.ones(1)
    return state


def made_plans(window: Sequence[int] = WINDOW, **changed: Any) -> dict[str, Any]:
    """Plans of the made network; ``changed`` are arguments of its encoder."""
    stages = len(SIZES.features)
    arguments = {
        "n_stages": stages,
        "features_per_stage": list(SIZES.features),
        "conv_op": "torch.nn.modules.conv.Conv3d",
        "kernel_sizes": [[3, 3, 3]] * stages,
        "strides": [[1, 1, 1], *[[2, 2, 2]] * (stages - 1)],
        "n_blocks_per_stage": list(SIZES.blocks),
        "n_conv_per_stage_decoder": [1] * (stages - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
        **changed,
    }
    name = "dynamic_network_architectures.architectures.unet.ResidualEncoderUNet"
    architecture = {"network_class_name": name, "arch_kwargs": arguments}
    return {"configurations": {"3d_fullres": {"patch_size": list(window), "architecture": architecture}}}


def write_folder(
    root: Path,
    state: dict[str, Tensor] | None = None,
    plans: dict[str, Any] | None = None,
    labels: Sequence[str] = LABELS,
    width: int = SIZES.text,
    model: str = "voxtell_v1.1",
    **more: Any,
) -> Path:
    """Write the folder that holds model and bank; returns it."""
    (root / model / "fold_0").mkdir(parents=True)
    (root / model / "plans.json").write_text(json.dumps(made_plans() if plans is None else plans))
    weights = published_state(made_network()) if state is None else state
    torch.save({"network_weights": weights, **more}, root / model / "fold_0" / "checkpoint_final.pth")
    bank = root / "embeddings" / model / "text_embeddings.npz"
    bank.parent.mkdir(parents=True)
    rows = np.random.default_rng(5).standard_normal((len(labels), width)).astype(np.float16)
    np.savez(bank, labels=np.array(labels), embeddings=rows)
    return root


def run_graphs(folder: Path, runtime: Any, image: np.ndarray, text: np.ndarray) -> np.ndarray:
    """Logits (1, N, d, h, w) of a folder's graphs."""
    graphs = {role: runtime.load(folder / f"{role}.onnx", "fp32") for role in ("window", "text", "prompt")}
    queries = graphs["text"]({"text": text})["queries"]
    memory = graphs["window"]({"image": image})
    each = [
        graphs["prompt"]({**memory, "queries": queries[:, n : n + 1]})["logits"] for n in range(text.shape[1])
    ]
    return np.stack(each, 1)
