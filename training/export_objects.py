"""The head that tells objects apart -> graphs of its own beside those of the weights that it was trained on.

The other graphs are written again as they are: tensors that both have are stored once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from vesal.inference.planning.manifest import MANIFEST
from vesal.networks.nano import Nano, widths_of
from vesal.networks.nano_objects import NanoObjects
from vesal.training.export import HIGHEST_DEGREE, INPUTS, SMALL, WEIGHTS, example, write_graph
from vesal.training.object_manifest import with_objects
from vesal.training.warm import read_weights, warm_start
from vesal.weights.digest import sha256
from vesal.weights.shared_file import OPSET, save_shared

OUTPUTS = ("probability", "presence", "inner")


class OneDegreeObjects(nn.Module):
    """The network with its head at one degree of anisotropy, with probabilities as outputs."""

    def __init__(self, model: NanoObjects, degree: int) -> None:
        super().__init__()
        self.model, self.degree = model, degree

    def forward(
        self, image: Tensor, prompt: Tensor, text: Tensor, side: Tensor, modality: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Probability (1, N, D, H, W), presence (1, N, D), and the distance 0..1 (1, N, D, H, W); see
        ``NanoObjects.forward_objects``.
        """
        told = self.model.forward_objects(image, prompt, text, side, modality, self.degree)
        logits, presence, inner = (each.sigmoid() for each in told)
        return logits, presence, inner


def write_object_graph(model: NanoObjects, degree: int, path: Path) -> onnx.ModelProto:
    """Export one degree, with free numbers of prompts and voxels."""
    axes = {2: "depth", 3: "height", 4: "width"}
    rows = {1: "prompts"}
    torch.onnx.export(
        OneDegreeObjects(model, degree),
        example(),
        str(path),
        input_names=list(INPUTS),
        output_names=list(OUTPUTS),
        dynamic_axes={
            "image": axes,
            **{name: rows for name in ("text", "side", "modality")},
            **{name: rows | axes for name in ("prompt", "probability", "inner")},
            "presence": rows | {2: "depth"},
        },
        opset_version=OPSET,
        dynamo=False,
        do_constant_folding=False,
    )
    return onnx.load(str(path))


def network_with_head(start: Path) -> NanoObjects:
    """The network of exported weights, with their head, or one that begins anew where they have none."""
    model = NanoObjects(widths_of(read_weights(start)))
    warm_start(model, start)
    if (start / "objects0.onnx").exists():
        found = read_weights(start, "objects0.onnx")
        model.load_state_dict({name: found[name] for name in model.state_dict()})
    return model


def export_objects(start: Path, head: Mapping[str, Tensor], out: Path) -> None:
    """Write the weights of ``start`` with a head to ``out``, which may be the same folder.

    Args:
        start: exported weights, with a head or without.
        head: its tensors by their names in the state dict; rounded to fp16 as the others are.
        out: its manifest names the new graphs, and has the rule that separates objects by them.
    """
    plain, model = Nano(widths_of(read_weights(start))).eval(), network_with_head(start).eval()
    warm_start(plain, start)
    model.load_state_dict(model.state_dict() | {name: value.half().float() for name, value in head.items()})
    content = json.loads((start / MANIFEST).read_text(encoding="utf-8"))
    out.mkdir(parents=True, exist_ok=True)
    scratch = out / "scratch"
    scratch.mkdir(exist_ok=True)
    with torch.no_grad():
        degrees = range(HIGHEST_DEGREE + 1)
        graphs = {f"degree{d}.onnx": write_graph(plain, d, scratch / f"{d}.onnx") for d in degrees}
        graphs |= {f"objects{d}.onnx": write_object_graph(model, d, scratch / f"o{d}.onnx") for d in degrees}
    save_shared(graphs.items(), out, WEIGHTS, True, lambda _, values: values.size >= SMALL)
    shutil.rmtree(scratch)
    if start.resolve() != out.resolve():
        shutil.copyfile(start / "bank.npz", out / "bank.npz")
    content = with_objects(content)
    names = sorted({*content["files"], *graphs})
    content["files"] = {name: {"sha256": sha256(out / name)} for name in names}
    (out / MANIFEST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
