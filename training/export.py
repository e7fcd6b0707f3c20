"""Averaged weights -> ONNX: a graph per degree of anisotropy, shared fp16 weights, bank and manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from vesal.inference.planning.weights_folder import MANIFEST
from vesal.inference.planning.weights_folder import WEIGHTS as SHIPPED
from vesal.networks.nano import TEXT, Nano, deeper_of, widths_of
from vesal.training.object_manifest import without_objects
from vesal.training.plan import Plan
from vesal.weights.digest import sha256
from vesal.weights.shared_file import OPSET, save_shared

CHECKPOINT = "checkpoint.pt"
"""What a run leaves in its working folder."""
DEFAULT = SHIPPED / "nano"
WEIGHTS = "weights.bin"
SMALL = 64
"""Tensors with fewer values stay in the graph."""
HIGHEST_DEGREE = 2
"""Of nano: at 1/16 of the resolution its depth is halved at least twice."""
INPUTS = ("image", "prompt", "text", "side", "modality")
OUTPUTS = ("probability", "presence")


class OneDegree(nn.Module):
    """The network at one degree of anisotropy, with probabilities as outputs."""

    def __init__(self, model: Nano, degree: int) -> None:
        super().__init__()
        self.model, self.degree = model, degree

    def forward(
        self, image: Tensor, prompt: Tensor, text: Tensor, side: Tensor, modality: Tensor
    ) -> tuple[Tensor, Tensor]:
        """See ``Nano.forward``; returns probability (1, N, D, H, W) and presence (1, N, D)."""
        logits, presence = self.model(image, prompt, text, side, modality, self.degree)
        return logits.sigmoid(), presence.sigmoid()


def example(prompts: int = 2, shape: tuple[int, int, int] = (32, 32, 48)) -> tuple[Tensor, ...]:
    """Inputs of the right types, in the order of ``INPUTS``.

    Image (1, 2, D, H, W), prompt (1, N, D, H, W), text (1, N, T) float32; side and modality (1, N) int64.
    """
    g = torch.Generator().manual_seed(0)
    return (
        torch.randn(1, 2, *shape, generator=g),
        torch.rand(1, prompts, *shape, generator=g),
        torch.randn(1, prompts, TEXT, generator=g),
        torch.zeros(1, prompts, dtype=torch.long),
        torch.ones(1, prompts, dtype=torch.long),
    )


def load_average(checkpoint: Path) -> Nano:
    """The network with the averaged weights of ``checkpoint``, rounded to fp16 as they are shipped."""
    state = torch.load(checkpoint, weights_only=True)["average"]
    model = Nano(widths_of(state), deeper=deeper_of(state))
    model.load_state_dict({k: v.half().float() for k, v in state.items()})
    return model.eval()


def write_graph(model: Nano, degree: int, path: Path) -> onnx.ModelProto:
    """Export one degree to ONNX with free numbers of prompts and voxels."""
    axes = {2: "depth", 3: "height", 4: "width"}
    dynamic = {
        "image": axes,
        "prompt": {1: "prompts", **axes},
        "text": {1: "prompts"},
        "side": {1: "prompts"},
        "modality": {1: "prompts"},
        "probability": {1: "prompts", **axes},
        "presence": {1: "prompts", 2: "depth"},
    }
    torch.onnx.export(
        OneDegree(model, degree),
        example(),
        str(path),
        input_names=list(INPUTS),
        output_names=list(OUTPUTS),
        dynamic_axes=dynamic,
        opset_version=OPSET,
        dynamo=False,
        do_constant_folding=False,
    )
    return onnx.load(str(path))


def write_graphs(model: Nano, out: Path, highest: int) -> list[str]:
    """Write a graph of each degree up to ``highest`` and their shared fp16 weights; returns their names."""
    out.mkdir(parents=True, exist_ok=True)
    scratch = out / "scratch"
    scratch.mkdir(exist_ok=True)
    with torch.no_grad():
        graphs = {d: write_graph(model, d, scratch / f"{d}.onnx") for d in range(highest + 1)}
    named = {f"degree{degree}.onnx": graph for degree, graph in graphs.items()}
    save_shared(named.items(), out, WEIGHTS, True, lambda _, values: values.size >= SMALL)
    shutil.rmtree(scratch)
    return [*named, WEIGHTS]


def export(work: Path, out: Path) -> None:
    """Write graphs, weights and bank of ``work`` to ``out`` and renew the digests in its manifest.

    The manifest itself (rules, targets, licence) is written by hand and kept. A folder without one gets that
    of the default weights under its own name, with no Dice: nothing has been measured yet. A head for objects
    goes, as it knows other features (``training.objects`` trains it again).
    """
    write_graphs(load_average(work / CHECKPOINT), out, HIGHEST_DEGREE)
    shutil.copyfile(work / "bank.npz", out / "bank.npz")
    content = without_objects(_manifest_of(out, _plan(work / CHECKPOINT)), out)
    if not _has_degrees(work / CHECKPOINT):
        content["stages"] = [
            stage | {"layout": {"kind": "fit", "degrees": False}} for stage in content["stages"]
        ]
    content["files"] = {name: {"sha256": sha256(out / name)} for name in sorted(content["files"])}
    (out / MANIFEST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _plan(checkpoint: Path) -> dict[str, Any]:
    """Of the run that left a checkpoint; empty where none is told."""
    plan: dict[str, Any] = torch.load(checkpoint, weights_only=True).get("plan", {})
    return plan


def _has_degrees(checkpoint: Path) -> bool:
    """Whether a network was trained with kernels that follow the spacing: one without is never run so."""
    return bool(_plan(checkpoint).get("ideas", {}).get("spad", True))


def _windows_of(content: dict[str, Any], plan: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest whose windows are larger by as much as the views of a run than those of the default."""
    factors = {
        stage: plan.get(f"{stage}_voxels", usual) / usual
        for stage, usual in (("coarse", Plan.coarse_voxels), ("fine", Plan.fine_voxels))
    }

    def scaled(stage: str, rules: Mapping[str, Any]) -> dict[str, Any]:
        windows = {"window_voxels": round(rules.get("window_voxels", 0) * factors.get(stage, 1.0))}
        return {**rules, **(windows if "window_voxels" in rules else {})}

    stages = [scaled(stage["name"], stage) for stage in content["stages"]]
    overrides = [
        entry | {"stages": {name: scaled(name, rules) for name, rules in entry["stages"].items()}}
        if "stages" in entry
        else entry
        for entry in content.get("overrides", [])
    ]
    return content | {"stages": stages, "overrides": overrides}


def _manifest_of(out: Path, plan: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest of ``out``, or a first one for what ``plan`` trained."""
    if (out / MANIFEST).exists():
        kept: dict[str, Any] = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
        return kept
    content: dict[str, Any] = json.loads((DEFAULT / MANIFEST).read_text(encoding="utf-8"))
    unmeasured = {
        key: [entry | {"dsc": None} for entry in content[key]] for key in ("targets", "not_covered")
    }
    return _windows_of(content, plan) | unmeasured | {"name": out.resolve().name}
