"""The score of a demo case as a table for the terminal."""

import numpy as np

from vesal.demo.cases import DemoCase
from vesal.evaluation.metrics import dice, score_instances, score_semantic


def score_table(demo: DemoCase, labels: np.ndarray) -> str:
    """Return the scores of `labels` (D,H,W), measured where the reference is complete, as lines of text."""
    truth, found = demo.truth[demo.scored], labels[demo.scored]
    rows = _instance_rows(truth, found) if demo.instance else _semantic_rows(demo, truth, found)
    return "\n".join(_aligned(row) for row in rows)


def _instance_rows(truth: np.ndarray, found: np.ndarray) -> list[tuple[str, ...]]:
    score = score_instances(found, truth)
    return [
        ("objects in the reference", str(len(np.unique(truth[truth > 0])))),
        ("objects found", str(len(np.unique(found[found > 0])))),
        ("F1 at IoU 0.5", f"{score.f1:.3f}"),
        ("DSC of the matched objects", f"{score.dsc_tp:.3f}"),
        ("DSC of all objects as one mask", f"{dice(found > 0, truth > 0):.3f}"),
    ]


def _semantic_rows(demo: DemoCase, truth: np.ndarray, found: np.ndarray) -> list[tuple[str, ...]]:
    score = score_semantic(found, truth, list(demo.prompts), demo.spacing_dhw_mm)
    voxel_ml = float(np.prod(demo.spacing_dhw_mm)) / 1000
    rows: list[tuple[str, ...]] = [("prompt", "DSC", "NSD 2 mm", "found ml", "reference ml")]
    for prompt_id, sentence in demo.prompts.items():
        one = score.classes[prompt_id]
        volumes = (f"{voxels * voxel_ml:.1f}" for voxels in (one.prediction_voxels, one.truth_voxels))
        rows.append((sentence, f"{one.dsc:.3f}", f"{one.nsd:.3f}", *volumes))
    return [*rows, ("mean", f"{score.dsc:.3f}", f"{score.nsd:.3f}", "", "")]


def _aligned(row: tuple[str, ...]) -> str:
    return (f"  {row[0]:<48}" + "".join(f"{cell:>14}" for cell in row[1:])).rstrip()
