"""``SpadPrompted`` -> ONNX: a graph per degree of anisotropy, shared fp16 weights, bank and manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from vesal.inference.geometry.fit import DEGREE_RATIOS as TRAINED_RATIOS
from vesal.inference.planning.weights_folder import MANIFEST
from vesal.networks.spad_prompted import HIGHEST_DEGREE, PromptedSizes, SpadPrompted
from vesal.training.export import write_graphs
from vesal.weights.digest import sha256

BANK = "bank.npz"
PAPER_RATIOS = tuple(float(1 << degree) for degree in range(1, HIGHEST_DEGREE + 1))
"""From these ratios of thick to thin spacing on each degree of anisotropy holds (SPAD-Nets, section 4.2)."""
DEGREE_RATIOS = (*TRAINED_RATIOS, *PAPER_RATIOS[len(TRAINED_RATIOS) :])
"""Those of views in training as far as there are, so that a view has the degree that it was learnt at."""
WINDOW_VOXELS = {"coarse": 60**3, "fine": 60**3}
"""As many as nano's windows have."""


def rounded(state: Mapping[str, Tensor], sizes: PromptedSizes) -> SpadPrompted:
    """The network with weights rounded to fp16, as they are shipped."""
    model = SpadPrompted(sizes)
    model.load_state_dict({name: value.half().float() for name, value in state.items()})
    return model.eval()


def manifest_of(name: str, targets: Sequence[Mapping[str, Any]], licence: str) -> dict[str, Any]:
    """A manifest without its files: both stages over views of up to five degrees.

    Args:
        name: of the weights.
        targets: concept, side, modality and Dice of each, see ``docs/design.md``.
        licence: of the weights.
    """
    layout = {"kind": "fit", "degree_ratios": list(DEGREE_RATIOS)}
    roles = {"coarse": "locate", "fine": "refine"}
    return {
        "name": name,
        "family": "spad",
        "licence": licence,
        "graphs": {str(degree): f"degree{degree}.onnx" for degree in range(HIGHEST_DEGREE + 1)},
        "bank": BANK,
        "stages": [
            {"name": stage, "role": role, "window_voxels": WINDOW_VOXELS[stage], "layout": layout}
            for stage, role in roles.items()
        ],
        "targets": list(targets),
    }


def export_prompted(model: SpadPrompted, bank: Path, out: Path, manifest: Mapping[str, Any]) -> None:
    """Write a weights folder of the family ``spad``.

    Args:
        model: of ``rounded``.
        bank: file of the text vectors that it was trained with.
        out: folder, made where it is not there.
        manifest: as ``manifest_of`` makes it; digests of the files are added.
    """
    files = [*write_graphs(model, out, HIGHEST_DEGREE), BANK]
    shutil.copyfile(bank, out / BANK)
    content = dict(manifest) | {"files": {name: {"sha256": sha256(out / name)} for name in sorted(files)}}
    (out / MANIFEST).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
