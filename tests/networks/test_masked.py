"""Hidden patches and the default network's encoder."""

import pytest

torch = pytest.importorskip("torch", reason="networks need torch")

from vesal.networks.masked import MaskedModel, MaskedNano, MaskedVit, patch_shape, spread  # noqa: E402
from vesal.networks.nano import Nano  # noqa: E402
from vesal.networks.spad_vit import SpadVit, SpadVitSizes  # noqa: E402

WIDTHS = (8, 8, 16, 16)


SMALL_VIT = SpadVitSizes(2, 16, 24, 2, 2, positions_dhw=(2, 2, 2))
KINDS = ("nano", "vit")


def model(kind: str) -> MaskedModel:
    """A thin network, in evaluation."""
    torch.manual_seed(0)
    encoder = MaskedNano(Nano(WIDTHS)) if kind == "nano" else MaskedVit(SpadVit(SMALL_VIT))
    return MaskedModel(encoder, 5).eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("degree", "shape"), [(0, (32, 32, 48)), (1, (16, 32, 48)), (2, (8, 32, 48))])
def test_every_patch_is_told_at_every_degree(kind: str, degree: int, shape: tuple[int, int, int]) -> None:
    grid = tuple(n // p for n, p in zip(shape, patch_shape(degree), strict=True))
    mask = torch.zeros(1, *grid, dtype=torch.bool)
    told = model(kind)(torch.randn(1, 2, *shape), mask, degree)
    assert told.shape == (1, *grid, 5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("degree", [0, 1, 2])
def test_what_a_hidden_patch_holds_does_not_reach_the_network(kind: str, degree: int) -> None:
    d, h, w = patch_shape(degree)
    image = torch.randn(1, 2, 2 * d, 2 * h, 2 * w)
    mask = torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    mask[0, 1, 0, 1] = True
    other = image.clone()
    other[:, :, d:, :h, w:] += 3.0
    network = model(kind)
    assert torch.equal(network(image, mask, degree), network(other, mask, degree))
    assert not torch.equal(network(image, ~mask, degree), network(image, mask, degree))


def test_a_mask_of_patches_covers_their_voxels_and_no_others() -> None:
    mask = torch.zeros(1, 2, 1, 2, dtype=torch.bool)
    mask[0, 1, 0, 0] = True
    voxels = spread(mask, 2)
    assert voxels.shape == (1, 1, 8, 16, 32) and voxels.sum() == 4 * 16 * 16
    assert voxels[0, 0, 4:, :, :16].all()


def test_the_encoder_that_is_trained_is_the_networks_own() -> None:
    network = Nano(WIDTHS)
    encoder = MaskedNano(network)
    names = set(encoder.state_dict()) - {"hidden"}
    assert names <= set(network.state_dict()) and "down.3.conv2.weight" in names
    encoder(torch.randn(1, 2, 16, 16, 16), torch.ones(1, 1, 1, 1, dtype=torch.bool), 0).sum().backward()
    assert network.stem.weight.grad is not None and encoder.hidden.grad is not None
