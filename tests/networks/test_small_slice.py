"""The small slice network: slices see each other through the first heads alone, with the same parameters."""

import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

from torch import Tensor  # noqa: E402

from vesal.inference.data.cross_slice import CrossSlice  # noqa: E402
from vesal.networks.small_slice import SIDE, TEXT, SliceOutput, SmallSlice  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from more."""
    torch.set_num_threads(1)


def network(cross: CrossSlice) -> SmallSlice:
    """With random weights, always the same."""
    torch.manual_seed(0)
    return SmallSlice(cross).eval()


def given(slices: int) -> tuple[Tensor, Tensor]:
    """A run of slices and two prompts."""
    made = torch.Generator().manual_seed(1)
    text = torch.nn.functional.normalize(torch.randn(1, 2, TEXT, generator=made), dim=-1)
    return torch.randn(1, slices, SIDE, SIDE, generator=made), text


def test_it_has_less_than_three_million_parameters_and_no_more_with_cross_slice_heads() -> None:
    plain, crossed = network(CrossSlice(heads=0)), network(CrossSlice(heads=4))
    assert plain.state_dict().keys() == crossed.state_dict().keys()
    assert sum(p.numel() for p in plain.parameters()) == 959_090


@torch.no_grad()
def test_shapes() -> None:
    found = network(CrossSlice())(*given(3))
    assert found.logits.shape == (1, 2, 3, SIDE, SIDE)
    assert found.presence.shape == (1, 2, 3)
    assert found.features.shape[:3] == (1, found.text.shape[2], 3)


def seen(found: SliceOutput, image: Tensor, t: int) -> list[int]:
    """Slices of the input that the mask of slice t depends on."""
    (gradient,) = torch.autograd.grad(found.logits[:, :, t].square().sum(), image, retain_graph=True)
    return gradient.abs().amax((0, 2, 3)).nonzero().flatten().tolist()


def test_without_cross_slice_heads_a_slice_sees_itself() -> None:
    image, text = given(5)
    found = network(CrossSlice(heads=0))(image.requires_grad_(), text)
    assert [seen(found, image, t) for t in range(5)] == [[t] for t in range(5)]


def test_one_head_looks_ahead_and_two_look_both_ways() -> None:
    image, text = given(7)
    ahead = network(CrossSlice(heads=1, offset=2))(image.requires_grad_(), text)
    assert [seen(ahead, image, t) for t in (0, 3, 6)] == [[0, 2, 4, 6], [3, 5], [6]]
    both = network(CrossSlice(heads=2, offset=2))(image, text)
    assert seen(both, image, 3) == [1, 3, 5]


@pytest.mark.parametrize("slices", [1, 2])
@torch.no_grad()
def test_a_run_that_is_no_longer_than_the_offset_is_the_plain_network_to_the_bit(slices: int) -> None:
    image, text = given(slices)
    plain, crossed = (network(CrossSlice(heads=heads))(image, text) for heads in (0, 2))
    assert torch.equal(plain.logits, crossed.logits)
    assert torch.equal(plain.presence, crossed.presence)


@torch.no_grad()
def test_runs_of_a_batch_do_not_see_each_other() -> None:
    model = network(CrossSlice(heads=2, offset=1))
    image, text = given(3)
    pair = model(torch.cat([image, 2 * image]), text.expand(2, -1, -1))
    torch.testing.assert_close(pair.logits[:1], model(image, text).logits, atol=1e-4, rtol=1e-4)
