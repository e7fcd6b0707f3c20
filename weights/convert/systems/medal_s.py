"""Medal S (Shi et al. 2025): two networks of one kind, with spatial prompts.

Facts: ``docs/checkpoints.md`` 1 to 8, ``docs/medal_s.md`` 7 to 17.
"""

from __future__ import annotations

import numpy as np
import torch

from vesal.inference.data.terms import COARSE, FINE, MODALITIES
from vesal.inference.planning.manifest import Provenance
from vesal.networks.medal_s import MedalS, prompt_union
from vesal.weights.convert.graphs import graphs_of
from vesal.weights.convert.parts import BIOLORD_TEXT, query_network
from vesal.weights.convert.system import (
    PROFILES,
    Geometry,
    StageFile,
    System,
    to_dhw,
    to_hwd,
)


@torch.no_grad()
def _logits(network: MedalS, image: np.ndarray, queries: np.ndarray, boxes: np.ndarray | None) -> np.ndarray:
    """See ``system.RunNetwork``; no boxes (1, N, d, h, w) are boxes of zeros, as in the published code."""
    window, text = to_hwd(image), torch.from_numpy(queries)[None]
    prompt = torch.zeros(1, len(queries), *window.shape[2:]) if boxes is None else to_hwd(boxes)
    return to_dhw(network(window, text, prompt, prompt_union(prompt)))


MEDAL_S = System(
    name="medal-s",
    title="Medal S",
    files=(
        StageFile(
            "stage1",
            COARSE,
            "coarse network, .pth",
            "nano_UNet_CVPR2025_crop_size_224_224_128_spacing_1.5_1.5_3.0_step_358600.pth",
            Geometry((128, 224, 224), (3.0, 1.5, 1.5)),
        ),
        StageFile(
            "stage2",
            FINE,
            "fine network, .pth",
            "nano_UNet_CVPR2025_crop_size_192_192_192_spacing_1.0_1.0_1.0_step_341300.pth",
            Geometry((192, 192, 192), (1.0, 1.0, 1.0)),
        ),
    ),
    network=query_network("Medal S", MedalS),
    text=BIOLORD_TEXT,
    graphs=graphs_of,
    logits=_logits,
    provenance=Provenance(
        paper="Shi et al. 2025, Medal S: Spatio-Textual Prompt Model for Medical Segmentation",
        repository="https://github.com/yinghemedical/Medal-S",
        commit="fcf3340",
        code_licence="Apache-2.0",
        modalities=MODALITIES,
    ),
    profile=PROFILES / "medal-s" / "profile",
)
"""The sources of ``docs/checkpoints.md`` name no licence of the published weights."""
