"""Mirrors, turns and intensities of one view."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from torch import Tensor  # noqa: E402

from vesal.training.augment import (  # noqa: E402
    BEND_SHARE,
    TURN_RAD,
    bend,
    draw_bend,
    draw_flips,
    draw_turn,
    intensity,
    turn,
    warp,
    warp_grid,
)


def blob(shape: tuple[int, int, int] = (28, 32, 36)) -> Tensor:
    """(1, D, H, W): a smooth bump well inside."""
    at = [torch.arange(n) - (n - 1) / 2 for n in shape]
    d, h, w = torch.meshgrid(*at, indexing="ij")
    return torch.exp(-((d / 3.5) ** 2 + ((h - 2) / 5) ** 2 + ((w + 3) / 6.5) ** 2))[None]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_turning_back_gives_nearly_the_same_inside(axis: int) -> None:
    given = blob()
    back = turn(turn(given, axis, 0.2), axis, -0.2)
    assert (back - given).abs().max() < 0.06  # two interpolations of a bump of height 1
    assert (turn(given, axis, 0.2) - given).abs().max() > 0.1  # and the turn itself does something


def test_a_quarter_turn_moves_a_voxel_where_a_hand_would() -> None:
    """About axis 0 on a plane that is not square: voxel units, so the circle stays a circle."""
    given = torch.zeros(1, 1, 5, 9)
    given[0, 0, 2, 6] = 1  # the centre is (2, 4); 2 to the right
    came = turn(given, 0, math.pi / 2)
    assert np.unravel_index(int(came.argmax()), came.shape[1:]) in {(0, 0, 4), (0, 4, 4)}
    assert float(came.sum()) == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_turn_leaves_its_own_axis_alone(axis: int) -> None:
    given = blob()
    profile = [x.sum([a for a in (0, 1, 2, 3) if a != axis + 1]) for x in (given, turn(given, axis, 0.15))]
    torch.testing.assert_close(profile[0], profile[1], atol=0.02 * float(profile[0].max()), rtol=0)


def test_no_turn_is_the_same_object() -> None:
    given = blob()
    assert turn(given, 0, 0.0) is given


def test_turned_and_bent_in_one_pass_is_the_same_as_one_after_the_other() -> None:
    given = blob()
    knots = next(k for k in (draw_bend(np.random.default_rng(seed)) for seed in range(20)) if k is not None)
    for axis in range(3):
        both = warp(given, warp_grid(given.shape[1:], axis, 0.3, knots))
        assert (both - bend(turn(given, axis, 0.3), knots)).abs().max() < 0.05  # one interpolation less
        assert (both - turn(bend(given, knots), axis, 0.3)).abs().max() > 0.01  # the order counts
    plain = bend(given, knots)
    grid = warp_grid(given.shape[1:], 0, 0.0, knots)
    assert torch.equal(warp(given, grid), plain)


def test_what_comes_in_from_outside_is_0() -> None:
    came = turn(torch.ones(1, 4, 16, 16), 0, 0.2)
    assert came[0, :, 0, 0].abs().max() < 0.5 and came[0, 2, 8, 8] == 1


def test_nearest_keeps_a_mask_a_mask() -> None:
    came = turn((blob() > 0.3).float(), 1, 0.17, "nearest")
    assert set(came.unique().tolist()) == {0.0, 1.0}


def test_rules_for_mirrors() -> None:
    rng = np.random.default_rng(0)
    drawn = {rule: {draw_flips(rule, rng) for _ in range(300)} for rule in ("none", "pairs", "any")}
    assert drawn["none"] == {()}
    assert drawn["pairs"] == {(), (0, 1), (0, 2), (1, 2)}  # an even number of axes keeps left and right true
    assert len(drawn["any"]) == 8


def test_a_set_may_be_mirrored_in_a_share_of_its_views() -> None:
    rng = np.random.default_rng(0)
    drawn = [draw_flips("any", rng, 0.2) for _ in range(2000)]
    assert np.mean([bool(axes) for axes in drawn]) == pytest.approx(0.2 * 7 / 8, abs=0.03)
    assert len(set(drawn)) == 8  # none of the mirrored copies is left out
    assert {draw_flips("any", rng, 0.0) for _ in range(50)} == {()}


def test_mirror_names_its_axis() -> None:
    drawn = {draw_flips("mirror 2", np.random.default_rng(seed)) for seed in range(40)}
    assert drawn == {(), (2,)}


def test_bending_is_undone_by_its_negative_and_small() -> None:
    given = blob()
    knots = next(k for k in (draw_bend(np.random.default_rng(seed)) for seed in range(20)) if k is not None)
    assert float(knots.abs().max()) <= BEND_SHARE
    bent = bend(given, knots)
    assert (bent - given).abs().max() > 0.02
    assert (bend(bent, -knots) - given).abs().mean() < 0.5 * (bent - given).abs().mean()
    assert bend(given, None) is given


def test_a_known_displacement_moves_by_so_many_voxels() -> None:
    given = torch.zeros(1, 8, 8, 8)
    given[0, 4, 4, 6] = 1
    knots = torch.zeros(1, 3, 4, 4, 4)
    knots[:, 0] = 2 / 8  # x, in shares of the side: two voxels are read from further right
    assert float(bend(given, knots)[0, 4, 4, 4]) == pytest.approx(1.0, abs=1e-5)


def test_an_unknown_rule_for_mirrors_is_named() -> None:
    with pytest.raises(ValueError, match="'both'; wanted none, pairs, any or mirror AXIS"):
        draw_flips("both", np.random.default_rng(0))


def test_thick_slices_are_only_turned_in_their_plane() -> None:
    rng = np.random.default_rng(0)
    assert {draw_turn(1, rng)[0] for _ in range(50)} == {0}
    assert {draw_turn(0, rng)[0] for _ in range(50)} == {0, 1, 2}
    angles = [draw_turn(0, rng)[1] for _ in range(200)]
    assert max(map(abs, angles)) <= TURN_RAD
    wide = [abs(draw_turn(2, rng, 0.5)[1]) for _ in range(200)]
    assert TURN_RAD < max(wide) <= 0.5
    assert 60 < angles.count(0.0) < 140  # half of the views stay as they are


def test_intensity_stays_in_range_keeps_0_and_is_seeded() -> None:
    given = np.random.default_rng(0).uniform(1, 255, (6, 7, 8)).astype(np.float32)
    given[:2] = 0
    kept = given.copy()
    for seed in range(30):
        came = intensity(given, np.random.default_rng(seed))
        assert came.dtype == np.float32 and came.shape == given.shape
        assert came.min() >= 0 and came.max() <= 255
        assert not came[:2].any()
        assert np.array_equal(came, intensity(given, np.random.default_rng(seed)))
    assert np.array_equal(given, kept)


def test_intensity_changes_most_views() -> None:
    """All but about one in seven: gamma and contrast come half of the time, blur and noise less often."""
    given = np.random.default_rng(0).uniform(50, 200, (6, 7, 8)).astype(np.float32)
    rng = np.random.default_rng(0)
    changed = [np.abs(intensity(given, rng) - given).max() > 1 for _ in range(100)]
    assert 75 < sum(changed) < 96
