"""A quick look at volumes that are not trained on, while the training runs: the learning curve's other half.

Both stages as at run time, but on the views themselves: no resampling back, no filter. What is shipped is
measured by ``validate.py``, through the engine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch

from vesal.inference.geometry.fit import fit_view
from vesal.inference.geometry.region import grown_region, region_of
from vesal.inference.geometry.resample import between
from vesal.inference.geometry.view_groups import bounding_box, group
from vesal.training.loop import Trainer
from vesal.training.store import SetRule, Volume
from vesal.training.views import COARSER, EXTENT, MOST_TARGETS, TOGETHER, Item, build, unpose

GROW = 1.35
PLAIN = SetRule(1.0, "none", 0.0, (), (), ())


def look_at(trainer: Trainer, volumes: Sequence[Volume]) -> dict[str, float]:
    """Mean Dice of the averaged weights per set and stage, as ``val SET coarse`` and ``val SET fine``."""
    kept = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.model.load_state_dict(trainer.average)
    trainer.model.eval()
    scores: dict[str, list[float]] = defaultdict(list)
    with torch.inference_mode():
        for volume in volumes:
            for stage, value in _case(trainer, volume):
                scores[f"val {volume.dataset} {stage}"].append(value)
    trainer.model.load_state_dict(kept)
    trainer.model.train()
    return {key: float(np.mean(values)) for key, values in scores.items()}


def _case(trainer: Trainer, volume: Volume) -> list[tuple[str, float]]:
    targets = volume.targets[:MOST_TARGETS]
    view = fit_view(volume.body, volume.spacing_dhw_mm, trainer.plan.coarse_voxels)
    item = build(volume, view, "coarse", targets, None, PLAIN, None, device=trainer.device)
    coarse = _probability(trainer, item)
    found = [("coarse", value) for value in _dice(coarse, item)]
    boxes = [region_of(p[None], view, volume.image.shape, extent_of=EXTENT) for p in coarse]
    for members in group(boxes, volume.spacing_dhw_mm, trainer.plan.fine_voxels, TOGETHER, COARSER):
        seen = [b for b in (boxes[i] for i in members) if b is not None]
        if not seen:
            found += [("fine", 0.0) for _ in members]
            continue
        box = bounding_box(seen)
        box = grown_region(box, GROW, view.step, volume.image.shape)
        near = fit_view(box, volume.spacing_dhw_mm, trainer.plan.fine_voxels)
        prompt = np.stack([between(coarse[i], view, near) for i in members])
        item = build(
            volume,
            near,
            "fine",
            tuple(targets[i] for i in members),
            prompt,
            PLAIN,
            None,
            device=trainer.device,
        )
        found += [("fine", value) for value in _dice(_probability(trainer, item), item)]
    return found


def _probability(trainer: Trainer, item: Item) -> np.ndarray:
    return unpose(trainer.look(item)[0][0].float().sigmoid(), item)


def _dice(probability: np.ndarray, item: Item) -> list[float]:
    truth = unpose(item.truth[0], item) > 0.5
    got = probability > 0.5
    return [
        float(2 * (g & t).sum() / max(1, g.sum() + t.sum()))
        for g, t in zip(got, truth, strict=True)
        if t.any()
    ]
