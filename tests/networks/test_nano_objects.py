"""The network with a head for objects: the same network, which training of the head leaves as it is."""

import pytest

torch = pytest.importorskip("torch", reason="networks need torch")

from torch import Tensor  # noqa: E402

from vesal.networks.nano import TEXT, Nano  # noqa: E402
from vesal.networks.nano_objects import HEAD, NanoObjects  # noqa: E402

THIN = (8, 8, 16, 16)


Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def inputs(prompts: int = 2) -> Inputs:
    """A view (16, 16, 32) with some prompts."""
    g = torch.Generator().manual_seed(0)
    return (
        torch.randn(1, 2, 16, 16, 32, generator=g),
        torch.rand(1, prompts, 16, 16, 32, generator=g),
        torch.randn(1, prompts, TEXT, generator=g),
        torch.zeros(1, prompts, dtype=torch.long),
        torch.full((1, prompts), 4),
    )


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_without_its_head_it_is_the_same_network_to_the_bit(degree: int) -> None:
    torch.manual_seed(0)
    model, plain = NanoObjects(THIN).eval(), Nano(THIN).eval()
    state = {k: v for k, v in model.state_dict().items() if not k.startswith(HEAD)}
    plain.load_state_dict(state)
    with torch.no_grad():
        mine, theirs = model(*inputs(), degree), plain(*inputs(), degree)
        told = model.forward_objects(*inputs(), degree)
    for a, b in zip(mine, theirs, strict=True):
        assert torch.equal(a, b)
    assert torch.equal(told[0], theirs[0])  # the correction begins at zero
    assert torch.equal(told[1], theirs[1])
    assert told[2].shape == told[0].shape and told[2].std() > 0


def test_queries_are_told_apart() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        distance = NanoObjects(THIN).eval().forward_objects(*inputs(), 0)[2]
    assert not torch.allclose(distance[:, 0], distance[:, 1])


def test_only_the_head_learns_from_the_distance() -> None:
    torch.manual_seed(0)
    model = NanoObjects(THIN)
    model.forward_objects(*inputs(), 0)[2].sum().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved and all(name.startswith(HEAD) for name in moved)
    assert f"{HEAD}image.weight" in moved
