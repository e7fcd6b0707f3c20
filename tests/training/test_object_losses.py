"""The loss of the head for objects: least where it is right, and steep where objects touch."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from torch import Tensor  # noqa: E402

from vesal.training.object_losses import object_loss  # noqa: E402
from vesal.training.object_targets import border_distance, touching_faces  # noqa: E402

LABELS = np.broadcast_to(np.array([0, 1, 1, 1, 2, 2, 2, 0], np.uint8), (6, 6, 8)).copy()
OBJECTS, INNER, FACES = (
    torch.from_numpy(np.ascontiguousarray(each))[None, None]
    for each in (
        (LABELS > 0).astype(np.float32),
        border_distance(LABELS, (1.0, 1.0, 1.0)),
        touching_faces(LABELS),
    )
)
PRESENCE = torch.zeros(1, 1, 6)


def told(inner: Tensor) -> float:
    """Loss of a distance alone."""
    return float(object_loss(20 * OBJECTS - 10, PRESENCE, torch.logit(inner, 1e-6), OBJECTS, INNER, FACES)[1])


def test_the_truth_costs_nothing() -> None:
    assert told(INNER) == pytest.approx(0, abs=1e-4)
    loss, _, dice = object_loss(40 * OBJECTS - 20, PRESENCE, torch.logit(INNER, 1e-6), OBJECTS, INNER, FACES)
    assert float(loss) == pytest.approx(0, abs=0.01) and float(dice) == pytest.approx(1, abs=1e-3)


def test_the_further_off_the_more_and_a_missed_face_most() -> None:
    assert told(INNER * 0.9) < told(INNER * 0.5)
    missed = [INNER.clone() for _ in range(2)]
    missed[0][..., 3:5] = 0.9  # where objects touch
    missed[1][..., [1, 6]] = 0.9  # at the background
    assert told(missed[0]) > 2 * told(missed[1])


def test_the_mask_is_learnt_too() -> None:
    logits = torch.zeros_like(OBJECTS, requires_grad=True)
    distance = torch.zeros_like(OBJECTS, requires_grad=True)
    object_loss(logits, PRESENCE, distance, OBJECTS, INNER, FACES)[0].backward()
    assert logits.grad[0, 0, 3, 3, 2] < 0 < logits.grad[0, 0, 3, 3, 0]
    assert distance.grad[0, 0, 3, 3, 2] < 0 < distance.grad[0, 0, 3, 3, 0]
