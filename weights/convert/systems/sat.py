"""SAT (Zhao et al. 2025), nano or Pro: one network without spatial prompts.

Facts: ``docs/checkpoints.md`` 1 to 7, 9 and 10, ``docs/sat.md`` 1 to 5.
"""

from __future__ import annotations

import numpy as np
import torch

from vesal.inference.data.terms import FINE, MODALITIES
from vesal.inference.planning.manifest import Provenance
from vesal.networks.sat import Sat
from vesal.weights.convert.graphs import graphs_of
from vesal.weights.convert.parts import BIOLORD_TEXT, query_network
from vesal.weights.convert.system import PROFILES, Geometry, StageFile, System, to_dhw, to_hwd


@torch.no_grad()
def _logits(network: Sat, image: np.ndarray, queries: np.ndarray, boxes: np.ndarray | None) -> np.ndarray:
    """See ``system.RunNetwork``; boxes (1, N, d, h, w) make no difference."""
    return to_dhw(network(to_hwd(image), torch.from_numpy(queries)[None]))


SAT = System(
    name="sat",
    title="SAT",
    files=(
        StageFile(
            "model",
            FINE,
            "the network, .pth",
            "nano.pth, SAT_Pro.pth, nano_cvpr25_v0.pth or nano_100percent.pth",
            Geometry((96, 288, 288), (3.0, 1.0, 1.0)),
        ),
    ),
    network=query_network("SAT", Sat),
    text=BIOLORD_TEXT,
    graphs=graphs_of,
    logits=_logits,
    provenance=Provenance(
        paper="Zhao et al. 2025, Large-vocabulary segmentation for medical images with text prompts",
        repository="https://huggingface.co/zzh99/SAT",
        modalities=MODALITIES,
    ),
    profile=PROFILES / "sat" / "profile",
)
"""Branch ``main`` knows no microscopy, which its text encoder's file tells. The sources of
``docs/checkpoints.md`` name no licence."""
