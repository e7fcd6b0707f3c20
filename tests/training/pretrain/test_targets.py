"""What hidden patches are compared with, by hand."""

import math

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from vesal.networks.masked import patch_shape  # noqa: E402
from vesal.training.pretrain.targets import PIXELS, PixelTarget, TokenTarget, patches_of  # noqa: E402

HIDDEN = torch.tensor([[[[True, False]]]])


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_patch_is_told_by_means_of_its_parts(degree: int) -> None:
    d, h, w = patch_shape(degree)
    image = torch.zeros(1, 1, d, h, 2 * w)
    image[..., w:] = torch.arange(w) // 2  # of the second patch: eight parts along w
    found = patches_of(image, degree)
    assert found.shape == (1, 1, 1, 2, 256) and not found[..., 0, :].any()
    parts = found[0, 0, 0, 1].reshape(PIXELS)
    assert torch.equal(parts, torch.arange(8.0).expand(PIXELS))


def test_slices_of_a_patch_stay_in_order() -> None:
    image = torch.arange(4.0).reshape(1, 1, 4, 1, 1).expand(1, 1, 4, 16, 16)
    assert patches_of(image, 2)[0, 0, 0, 0].reshape(PIXELS)[:, 0, 0].tolist() == [0, 1, 2, 3]


def test_pixels_are_compared_patch_by_patch_where_they_are_hidden() -> None:
    image = torch.zeros(1, 2, 16, 16, 32)
    image[:, 0, :8, :, :16] = 4.0  # half of the hidden patch: 4, half: 0
    told = torch.zeros(1, 1, 1, 2, PixelTarget.outputs)
    told[..., 1, :] = 99.0  # of a patch that is shown
    # Standardised, the patch is +s and -s; torch's deviation of 256 numbers has 255 in its denominator.
    wanted = 255 / 256
    assert PixelTarget().loss(told, image, HIDDEN, 0).item() == pytest.approx(wanted, rel=1e-5)


def test_an_even_patch_asks_for_nothing() -> None:
    image = torch.full((1, 2, 16, 16, 32), 0.5)
    told = torch.zeros(1, 1, 1, 2, PixelTarget.outputs)
    assert PixelTarget().loss(told, image, HIDDEN, 0).item() == pytest.approx(0.0, abs=1e-6)


def test_tokens_are_compared_by_cross_entropy() -> None:
    tokens = torch.tensor([[0.25, 0.75], [1.0, 0.0]]).reshape(1, 1, 1, 2, 2).movedim(-1, 1)
    told = torch.tensor([[0.0, math.log(3.0)], [5.0, 0.0]]).reshape(1, 1, 1, 2, 2)
    target = TokenTarget(lambda image, degree: tokens, 2)
    wanted = -(0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    found = target.loss(told, torch.zeros(1, 2, 16, 16, 32), HIDDEN, 0)
    assert found.item() == pytest.approx(wanted, rel=1e-6)
