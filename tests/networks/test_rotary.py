"""Additive 3D rotary positions: recorded values, and the properties that the paper proves (appendix A)."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the networks' definitions need torch")

from torch import Tensor  # noqa: E402

from tests.networks.recorded_spad import read_recorded, recorded_cases  # noqa: E402
from vesal.networks.rotary import Rotary, turned  # noqa: E402

HEAD = 64
GRID = (8, 16, 16)


@pytest.fixture(scope="module")
def vectors() -> tuple[Tensor, Tensor]:
    """A query and a key (1, d) in float64."""
    g = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, HEAD, generator=g, dtype=torch.float64)
    return query, key


def at(place: tuple[int, int, int]) -> Tensor:
    """Angles (1, d / 2) of one place, in float64 of what is computed in float32."""
    grid = tuple(n + 1 for n in place)
    return Rotary().angles(grid, HEAD)[-1:].double()


def test_every_recorded_rotation(shared: Path) -> None:
    recorded = read_recorded(shared)
    cases = recorded_cases(shared, "rope_")
    assert len(cases) >= 3
    for case in cases:
        key, head = case["key"], case["head_dim"]
        depth_base, plane_base, _ = case["base"]
        rotary = Rotary(plane_base, depth_base, tuple(case["rescale"]))
        depth, plane = rotary.frequencies(head)
        torch.testing.assert_close(torch.cat([depth, depth]), recorded[f"{key}_omega0"])
        torch.testing.assert_close(plane, recorded[f"{key}_omega1"])
        torch.testing.assert_close(plane, recorded[f"{key}_omega2"])
        angles = rotary.angles(tuple(case["shape"]), head)
        for name, values in {"cos": angles.cos(), "sin": angles.sin()}.items():
            wide = values.repeat_interleave(2, -1)[:, None]
            torch.testing.assert_close(wide, recorded[f"{key}_{name}"], atol=1e-5, rtol=0)
        out = turned(recorded[f"{key}_q"].transpose(1, 2), angles).transpose(1, 2)
        torch.testing.assert_close(out, recorded[f"{key}_out"], atol=1e-5, rtol=1e-5)


def test_places_are_counted_as_if_there_were_as_many_as_in_training() -> None:
    wanted = Rotary(rescaled_dhw=(-1, 10, 20)).angles((2, 5, 5), HEAD)
    plain = Rotary().angles((2, 9, 17), HEAD).unflatten(0, (2, 9, 17))
    torch.testing.assert_close(wanted.unflatten(0, (2, 5, 5)), plain[:, ::2, ::4])


@pytest.mark.parametrize("step", [(1, 0, 0), (0, 3, 0), (0, 0, 2), (2, 1, 5)])
def test_products_hang_on_how_far_two_places_lie_apart(
    vectors: tuple[Tensor, Tensor], step: tuple[int, int, int]
) -> None:
    """Relativity, equation 9: R(a)q . R(a + s)k is q . R(s)k wherever a is; and it differs for another s."""
    query, key = vectors
    wanted = (query * turned(key, at(step))).sum()
    for place in ((0, 0, 0), (3, 0, 9), (5, 11, 2)):
        moved = (place[0] + step[0], place[1] + step[1], place[2] + step[2])
        product = (turned(query, at(place)) * turned(key, at(moved))).sum()
        torch.testing.assert_close(product, wanted, atol=1e-5, rtol=0)
    assert (wanted - (query * turned(key, at((0, 0, 1)))).sum()).abs() > 1e-3


def test_a_rotation_is_undone_by_its_opposite_and_keeps_lengths(vectors: tuple[Tensor, Tensor]) -> None:
    query, _ = vectors
    angles = at((3, 7, 5))
    assert not torch.allclose(turned(query, angles), query, atol=0.1)
    torch.testing.assert_close(turned(turned(query, angles), -angles), query)
    torch.testing.assert_close(turned(query, angles).norm(), query.norm())


def test_a_single_slice_is_turned_as_an_image_is() -> None:
    """Equation 6: the first half by the row, the second by the column, each with the plane's frequencies."""
    _, plane = Rotary().frequencies(HEAD)
    angles = Rotary().angles((1, 3, 4), HEAD).unflatten(0, (3, 4))
    rows = torch.arange(3.0)[:, None, None] * plane
    columns = torch.arange(4.0)[None, :, None] * plane
    assert torch.equal(angles, torch.cat([rows.expand(3, 4, -1), columns.expand(3, 4, -1)], -1))
    assert torch.equal(angles, Rotary().angles((2, 3, 4), HEAD).unflatten(0, (2, 3, 4))[0])


def test_no_two_places_share_their_angles() -> None:
    """Reversibility, appendix A.3: on 8 x 16 x 16 places every frequency tells slices and rows apart."""
    angles = Rotary().angles(GRID, HEAD).double().unflatten(0, GRID)
    half = HEAD // 4
    rows, columns = angles[:, :, 0, :half].flatten(0, 1), angles[:, 0, :, half:].flatten(0, 1)
    assert torch.equal(rows, columns)  # they are alike, so one of them says it for both
    turns = (rows % (2 * torch.pi)).sort(0).values
    gaps = torch.cat([turns.diff(dim=0), turns[:1] + 2 * torch.pi - turns[-1:]])
    assert gaps.shape == (8 * 16, half)
    assert gaps.min() > 1e-6
    assert 1e-5 < gaps.min(0).values.median() < 1e-2  # "approximately 10^-3 to 10^-5"
    vectors = torch.cat([angles.cos(), angles.sin()], -1).flatten(0, 2)
    apart = torch.cdist(vectors, vectors)
    apart.fill_diagonal_(float("inf"))
    assert apart.min() > 0.1


def test_a_head_that_has_no_two_pairs_for_each_axis_is_refused() -> None:
    with pytest.raises(ValueError, match="6 channels; wanted is a multiple of 4"):
        Rotary().angles((1, 2, 2), 6)
