"""A wider network that computes what a narrower one does."""

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from torch import Tensor  # noqa: E402

from vesal.networks.nano import TEXT, Nano, widths_of  # noqa: E402
from vesal.training.widen import widen  # noqa: E402

NARROW, WIDE = (8, 16, 24, 32), (16, 24, 32, 48)


def answers(model: Nano, degree: int, shape: tuple[int, int, int]) -> tuple[Tensor, ...]:
    """Logits and presence of one view with three prompts."""
    g = torch.Generator().manual_seed(1)
    image, prompt = torch.randn(1, 2, *shape, generator=g), torch.rand(1, 3, *shape, generator=g)
    text, side = torch.randn(1, 3, TEXT, generator=g), torch.tensor([[0, 1, 2]])
    return model(image, prompt, text, side, torch.ones_like(side), degree)


def pair(wide: tuple[int, int, int, int] = WIDE) -> tuple[Nano, Nano]:
    """A narrow network, and a wide one that begins from it."""
    torch.manual_seed(0)
    narrow, other = Nano(NARROW).eval(), Nano(wide).eval()
    other.load_state_dict(widen(narrow.state_dict(), other.state_dict()))
    return narrow, other


@pytest.mark.parametrize(("degree", "shape"), [(0, (32, 16, 32)), (1, (16, 32, 16)), (2, (8, 32, 16))])
def test_a_widened_network_computes_the_same(degree: int, shape: tuple[int, int, int]) -> None:
    narrow, wide = pair()
    with torch.no_grad():
        for one, two in zip(answers(narrow, degree, shape), answers(wide, degree, shape), strict=True):
            assert one.abs().max() > 0.1
            torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def test_new_channels_learn() -> None:
    """Each convolution's new rows or what reads them get a gradient at once."""
    _, wide = pair()
    logits, presence = answers(wide.train(), 0, (32, 16, 32))
    (logits.sum() + presence.sum()).backward()
    a, b = NARROW[0], NARROW[1]
    assert wide.up[2].conv2.weight.grad[:a, a:].abs().max() > 0, "reads new channels of the same level"
    assert wide.token_proj[1].weight.grad[:, NARROW[2] :].abs().max() > 0
    assert wide.text_to_mask.weight.grad[a:].abs().max() > 0
    assert wide.down[1].conv1.weight.grad[:b, a:].abs().max() > 0


def test_the_widths_are_read_from_the_tensors() -> None:
    narrow, wide = pair()
    assert (widths_of(narrow.state_dict()), widths_of(wide.state_dict())) == (NARROW, WIDE)


def test_the_same_widths_change_nothing() -> None:
    narrow, same = pair(NARROW)
    for name, value in narrow.state_dict().items():
        torch.testing.assert_close(same.state_dict()[name], value, rtol=0, atol=0)


@pytest.mark.parametrize("wide", [(8, 16, 24, 16), (12, 16, 24, 32), (16, 16, 32, 48)])
def test_what_cannot_be_widened_is_refused(wide: tuple[int, int, int, int]) -> None:
    """A narrower level, half a group, and a level without the shortcut that it had."""
    narrow, fresh = Nano(NARROW).state_dict(), dict(Nano(WIDE).state_dict())
    for i, width in enumerate(wide):
        fresh[f"down.{i}.norm2.weight"] = torch.ones(width)
    if wide[0] == wide[1]:
        del fresh["down.1.shortcut.weight"]
    with pytest.raises(ValueError, match="do not go into .* multiples of 8, and the"):
        widen(narrow, fresh)
