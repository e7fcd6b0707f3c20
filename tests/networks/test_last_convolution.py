"""The put-off convolution gives what the convolution at full size gives."""

import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from vesal.networks.last_convolution import (  # noqa: E402
    can_stride,
    composed_logits,
    resized_convolution,
)


@pytest.fixture
def conv() -> nn.Conv2d:
    """A convolution with a bias that matters at the border."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    return nn.Conv2d(6, 5, 3, padding=1)


@pytest.mark.parametrize("factor", [2, 4, 8])
@torch.no_grad()
def test_resized(conv: nn.Conv2d, factor: int) -> None:
    x = torch.randn(2, 6, 16, 24)
    wanted = functional.interpolate(
        conv(x), (16 // factor, 24 // factor), mode="bilinear", align_corners=False
    )
    assert torch.allclose(resized_convolution(conv, x, factor), wanted, atol=1e-5)


@torch.no_grad()
def test_composed(conv: nn.Conv2d) -> None:
    """Each slice with its own embeddings."""
    x, embedded = torch.randn(2, 6, 8, 12), torch.randn(2, 3, 5)
    wanted = torch.einsum("snc,schw->snhw", embedded, conv(x))
    assert torch.allclose(composed_logits(conv, embedded, x), wanted, atol=1e-5)


def test_which_sizes_can_be_strided() -> None:
    x = torch.zeros(1, 1, 16, 24)
    assert can_stride(x, (8, 12), 2) and can_stride(x, (2, 3), 8)
    assert not can_stride(x, (8, 12), 4)
    assert not can_stride(torch.zeros(1, 1, 17, 24), (9, 12), 2)
    assert not can_stride(x, (16, 24), 1)
