"""Smooth deformations of label maps."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from vesal.training.deform import (  # noqa: E402
    GRID,
    jacobian,
    landmarks,
    moved,
    random_flow,
    then,
    towards,
    unfolded,
)

SPACING = (2.0, 1.0, 1.5)
NAMES = {1: "liver", 2: "spleen", 3: "kidney_left", 4: "kidney_right", 5: "stomach"}


def organs(shift: int = 0, grow: int = 0) -> np.ndarray:
    """Five boxes; the spleen moved and the liver grown by so many voxels."""
    labels = np.zeros((40, 56, 60), np.uint8)
    labels[6 : 20 + grow, 8:28, 6:26] = 1
    labels[8:16, 30 - shift : 44 - shift, 40:52] = 2
    labels[22:32, 30:40, 36:44] = 3
    labels[22:32, 30:40, 12:20] = 4
    labels[24:34, 8:20, 34:50] = 5
    return labels


@pytest.mark.parametrize("seed", range(4))
def test_a_random_flow_folds_nowhere_and_moves_much(seed: int) -> None:
    flow = random_flow(np.random.default_rng(seed), 0.5)
    assert float(jacobian(flow).min()) > 0
    assert float(flow.abs().max()) > 0.02
    assert torch.equal(flow, random_flow(np.random.default_rng(seed), 0.5))


def test_the_jacobian_of_a_known_stretch() -> None:
    x = torch.linspace(0, 1, GRID).expand(GRID, GRID, GRID)
    flow = torch.stack([0.5 * x, torch.zeros_like(x), torch.zeros_like(x)])[None]
    torch.testing.assert_close(jacobian(flow), torch.full((GRID - 1,) * 3, 1.5), atol=1e-4, rtol=0)
    folded = torch.stack([-1.2 * x, torch.zeros_like(x), torch.zeros_like(x)])[None]
    assert float(jacobian(folded).min()) < 0 < float(jacobian(unfolded(folded)).min())


def test_no_displacement_changes_nothing_and_a_shift_shifts() -> None:
    labels = organs()
    assert np.array_equal(moved(labels, torch.zeros(1, 3, GRID, GRID, GRID)), labels)
    flow = torch.zeros(1, 3, GRID, GRID, GRID)
    flow[:, 0] = 5 / 59  # reads five voxels further along W
    assert np.array_equal(moved(labels, flow)[:, :, :-5], labels[:, :, 5:])


def test_two_flows_one_after_the_other() -> None:
    one, two = (torch.zeros(1, 3, GRID, GRID, GRID) for _ in range(2))
    one[:, 0], two[:, 0] = 0.1, 0.05
    torch.testing.assert_close(then(one, two)[:, 0], torch.full((1, GRID, GRID, GRID), 0.15))


def test_landmarks_are_in_millimetres() -> None:
    found = landmarks(organs(), SPACING, NAMES)
    assert set(found) == set(NAMES.values())
    np.testing.assert_allclose(found["liver"][0], [26.0, 18.0, 24.0])
    assert found["liver"][1, 0] < 26 < found["liver"][2, 0] and found["liver"][1, 1] == 18


def test_organs_go_towards_where_they_lie_in_another_subject() -> None:
    here, there = organs(), organs(shift=8, grow=4)
    other = landmarks(there, SPACING, NAMES)

    def dice(a: np.ndarray, b: np.ndarray) -> float:
        return float(2 * (a & b).sum() / (a.sum() + b.sum()))

    shares = [moved(here, towards(here, SPACING, NAMES, other, share)) for share in (0.0, 0.5, 1.0)]
    assert dice(shares[0] == 2, here == 2) == 1.0
    found = [dice(each == 2, there == 2) for each in shares]
    assert found[0] < found[1] < found[2] and found[2] > 0.75  # their middles are aligned first
    assert set(np.unique(shares[2])) == set(np.unique(here))


def test_another_way_to_store_the_other_subject_is_no_shape() -> None:
    there = organs(shift=8, grow=4)
    flows = [
        towards(organs(), SPACING, NAMES, landmarks(stored, SPACING, NAMES), 0.5)
        for stored in (there, there[:, ::-1], there[::-1, :, ::-1])
    ]
    for flow in flows[1:]:
        torch.testing.assert_close(flow, flows[0], atol=2e-3, rtol=0)


def test_with_too_few_organs_in_common_nothing_moves() -> None:
    other = {"liver": landmarks(organs(), SPACING, NAMES)["liver"]}
    assert not towards(organs(), SPACING, NAMES, other, 1.0).any()
