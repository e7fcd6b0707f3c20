"""Muon: the orthogonal update, and one step with it."""

from copy import deepcopy

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from torch.nn import Parameter  # noqa: E402

from vesal.training.muon import NEWTON_SCHULZ, Muon, orthogonal  # noqa: E402


@pytest.mark.parametrize("shape", [(8, 8), (8, 54), (54, 8)])
@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_singular_values_come_near_1_whatever_the_scale(shape: tuple[int, int], scale: float) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * scale
    values = torch.linalg.svdvals(orthogonal(matrix))
    # The quintic trades exactness for speed: its fixed band is about 0.7 to 1.2 (Jordan et al. 2024).
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_the_singular_vectors_stay() -> None:
    g = torch.Generator().manual_seed(0)
    u, _, vt = torch.linalg.svd(torch.randn(6, 10, generator=g), full_matrices=False)
    came = orthogonal(u @ torch.diag(torch.tensor([3.0, 2.5, 2.0, 1.5, 1.0, 0.5])) @ vt)
    inside = u.T @ came @ vt.T
    assert (inside - torch.diag(inside.diagonal())).abs().max() < 1e-4
    assert inside.diagonal().min() > 0.5


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (24, 24)])
def test_steps_on_the_gram_matrix_are_the_steps_of_newton_and_schulz(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    x = matrix / matrix.norm()
    a, b, c = NEWTON_SCHULZ
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    torch.testing.assert_close(orthogonal(matrix), x, rtol=0, atol=1e-5)


def test_a_zero_gradient_gives_a_zero_update() -> None:
    assert torch.equal(orthogonal(torch.zeros(3, 5)), torch.zeros(3, 5))


def test_the_first_step_has_the_length_of_an_adamw_step() -> None:
    """0.2 sqrt(max side) times the rate, per singular direction: a root mean square of about 0.2 rate."""
    kernel = torch.nn.Parameter(torch.zeros(8, 2, 3, 3, 3))
    kernel.grad = torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0))
    Muon([kernel], lr=0.1).step()
    assert float(kernel.detach().square().mean().sqrt()) == pytest.approx(0.02, rel=0.25)


def test_one_step_lowers_a_quadratic_and_many_reach_its_floor() -> None:
    torch.manual_seed(0)
    target, weight = torch.randn(4, 2, 3, 3, 3), torch.nn.Parameter(torch.zeros(4, 2, 3, 3, 3))
    optimizer = Muon([weight], lr=0.05)
    losses = []
    for _ in range(100):
        loss = (weight - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[1] < losses[0]
    assert losses[-1] < 0.1 * losses[0]


def test_weight_decay_shrinks_by_rate_times_decay() -> None:
    weight = torch.nn.Parameter(torch.ones(2, 2))
    weight.grad = torch.zeros(2, 2)
    Muon([weight], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), 0.95))


def test_a_parameter_without_gradient_is_left_alone() -> None:
    weight = torch.nn.Parameter(torch.ones(2, 2))
    Muon([weight], lr=0.1, weight_decay=0.5).step()
    assert torch.equal(weight.detach(), torch.ones(2, 2))


def test_the_momentum_is_kept_in_the_state_and_restored() -> None:
    def stepped(optimizer: Muon, weight: Parameter, seed: int) -> None:
        weight.grad = torch.randn(weight.shape, generator=torch.Generator().manual_seed(seed))
        optimizer.step()

    first = torch.nn.Parameter(torch.zeros(3, 4))
    one = Muon([first], lr=0.1)
    stepped(one, first, 0)
    second = torch.nn.Parameter(first.detach().clone())
    other = Muon([second], lr=0.1)
    other.load_state_dict(deepcopy(one.state_dict()))  # as from a file: not the same tensors
    stepped(one, first, 1)
    stepped(other, second, 1)
    assert torch.equal(first.detach(), second.detach())
