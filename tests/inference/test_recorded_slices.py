"""What follows a slice network, from recorded logits to the recorded label map of BiomedParse-V."""

from pathlib import Path

import numpy as np

from vesal.inference.geometry.bicubic import bicubic
from vesal.postprocess.merging import merge_classes
from vesal.postprocess.slices import Slices, kept_slices

SIDE = 512
"""Of the slices that the network sees."""


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Of logits of any shape."""
    return 1 / (1 + np.exp(-logits))


def test_recorded_logits_give_the_recorded_labels(shared: Path) -> None:
    """All cases that are there."""
    with np.load(shared / "fixtures" / "biomedparse_v" / "e2e.npz") as recorded:
        cases = [name[0] for name in recorded if name.endswith("_pred_gmasks")]
        assert cases
        for case in cases:
            check({name[2:]: recorded[name] for name in recorded if name.startswith(f"{case}_")})


def check(case: dict[str, np.ndarray]) -> None:
    """Larger masks, presence and overlap, merging; each voxel has the nearest label, without the padding."""
    logits, shift, presence = case["pred_gmasks"], case["pg_shift"], sigmoid(case["existence_shifted"])
    ids, segs = case["ids"].tolist(), np.moveaxis(case["seg"], int(case["valid_axis"]), 0)
    small = logits - shift.reshape(-1, 1, 1, 1)
    probability = np.stack([sigmoid(bicubic(slices, (SIDE, SIDE))) for slices in small])
    probability *= kept_slices(probability, presence, Slices())[:, :, None, None]
    labels = merge_classes(zip(ids, probability, strict=True))
    size = max(segs.shape[1:])
    at = np.floor(np.arange(size) * (SIDE / size)).astype(int)
    first = [(size - n) // 2 for n in segs.shape[1:]]
    inside = tuple(slice(a, a + n) for a, n in zip(first, segs.shape[1:], strict=True))
    np.testing.assert_array_equal(labels[:, at][:, :, at][(slice(None), *inside)], segs)
    assert np.count_nonzero(segs)
