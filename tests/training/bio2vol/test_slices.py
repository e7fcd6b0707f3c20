"""Volumes on the small slice network's grid, and what a step draws from them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import made_bank  # noqa: E402
from vesal.networks.small_slice import SIDE  # noqa: E402
from vesal.training.bio2vol.draws import BATCH, by_set, draw, moved, placed  # noqa: E402
from vesal.training.bio2vol.slices import PIXEL_MM, cropped, native_masks, resized, sample  # noqa: E402
from vesal.training.store import Target, Volume, labelled  # noqa: E402

BANK = made_bank("liver", "spleen")


def volume(slices: int = 9, sides: tuple[int, int] = (40, 52), spacing_mm: float = 2.5) -> Volume:
    """Two boxes, each with a value of its own, that begin at slice 2."""
    image, labels = np.full((slices, *sides), 20, np.uint8), np.zeros((slices, *sides), np.uint8)
    for label, at in ((1, np.s_[2:, 8:20, 8:24]), (2, np.s_[2:, 24:34, 20:40])):
        image[at], labels[at] = 100 * label, label
    targets = tuple(Target(n, n, None, "MR", i) for i, n in enumerate(BANK, 1))
    return labelled("made", "MR_Heart_ACDC", image, labels, (5.0, spacing_mm, spacing_mm), targets)


@pytest.mark.parametrize("sides", [(5, 8), (64, 64), (99, 30)])
def test_cropping_there_and_back_is_the_identity_inside(sides: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *sides)
    seen = cropped(x, 7.0)
    assert seen.shape == (2, 3, SIDE, SIDE)
    back = cropped(seen, 7.0, sides)
    inside = back != 7
    assert torch.equal(back[inside], x[inside])
    assert inside[0, 0].sum() == min(SIDE, sides[0]) * min(SIDE, sides[1])


def test_a_slice_of_one_value_keeps_it() -> None:
    torch.testing.assert_close(resized(torch.full((2, 9, 7), 3.0), (5, 11)), torch.full((2, 5, 11), 3.0))


@pytest.mark.parametrize("spacing_mm", [PIXEL_MM, 1.25])
def test_a_volume_on_the_grid_of_the_network_and_back(spacing_mm: float) -> None:
    case = volume(spacing_mm=spacing_mm)
    found = sample(case, BANK)
    assert found.image.shape == (9, SIDE, SIDE) and found.truth.shape == (2, 9, SIDE, SIDE)
    assert found.image[0].amin() == -1
    assert float(found.image[3].amax()) == pytest.approx(200 / 127.5 - 1, 0.01)
    torch.testing.assert_close(found.text.norm(dim=1), torch.ones(2))
    back = native_masks(found.truth * 2 - 1, case)
    labels = np.asarray(case.labels[:, :, :])
    for mask, label in zip(back, (1, 2), strict=True):
        wrong = np.count_nonzero(mask != (labels == label))
        assert wrong <= (0 if spacing_mm == PIXEL_MM else 0.05 * np.count_nonzero(labels == label))


def test_a_seed_draws_the_same_batch_and_another_one_another() -> None:
    groups = by_set([sample(volume(), BANK), sample(volume(8), BANK)])
    first, again, other = (draw(groups, 7, (3, step)) for step in (0, 0, 1))
    assert first.image.shape == (BATCH, 7, SIDE, SIDE) and first.truth.shape == (BATCH, 2, 7, SIDE, SIDE)
    assert torch.equal(first.image, again.image) and torch.equal(first.truth, again.truth)
    assert not torch.equal(first.image, other.image)
    assert set(first.truth.unique().tolist()) == {0.0, 1.0}


def test_a_batch_is_as_long_as_its_shortest_volume() -> None:
    groups = by_set([sample(volume(4), BANK)])
    assert draw(groups, 7, (0,)).image.shape[1] == 4


def test_the_sparse_sequence_of_a_batch() -> None:
    batch = draw(by_set([sample(volume(7), BANK)]), 7, (0,))
    sparse = batch.every(2)
    assert torch.equal(sparse.image, batch.image[:, [0, 2, 4, 6]])
    assert torch.equal(sparse.truth, batch.truth[:, :, [0, 2, 4, 6]])


def test_volumes_that_lack_a_target_of_their_set_are_left_out() -> None:
    whole, part = sample(volume(), BANK), volume()
    part = labelled("part", part.dataset, part.image, part.labels, part.spacing_dhw_mm, part.targets[:1])
    assert by_set([whole, sample(part, BANK)]) == {"MR_Heart_ACDC": [whole]}


def test_image_and_truth_move_together() -> None:
    rng = np.random.default_rng(0)
    grid = placed(rng, SIDE)
    mask = sample(volume(), BANK).truth
    torch.testing.assert_close(moved(mask, grid, 0.0), (moved(mask * 2 - 1, grid, 1.0) + 1) / 2)
    assert not torch.allclose(moved(mask, grid, 0.0), mask)


def test_a_share_of_the_slices_is_black_in_image_alone() -> None:
    groups = by_set([sample(volume(7), BANK)])
    seen, other = (draw(groups, 7, (5,), hidden) for hidden in (0.0, 0.5))
    black = (other.image == -1).flatten(2).all(2)
    assert 0 < black.sum() < black.numel()
    assert torch.equal(other.image[~black], seen.image[~black])
    assert not (seen.image == -1).flatten(2).all(2).any()
    assert torch.equal(other.truth, seen.truth)
