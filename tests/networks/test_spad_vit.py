"""SPAD-ViT: the recorded outputs number for number, its parts by hand, and the published names."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the networks' definitions need torch")

import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from tests.networks.recorded_spad import published_shapes, read_recorded, recorded_vit  # noqa: E402
from vesal.networks.rotary import turned  # noqa: E402
from vesal.networks.spad import Anisotropy  # noqa: E402
from vesal.networks.spad_vit import (  # noqa: E402
    SPAD_VIT_B,
    SPAD_VIT_L,
    RotaryAttention,
    SpadVit,
    SpadVitSizes,
    SwiGlu,
    heads_of,
    own_names,
    random_vit,
    resampled,
    spad_vit_sizes_of,
)

PARAMETERS = 94_930_944
"""Of the published backbone."""
SMALL = SpadVitSizes(2, 16, 12, 3, 2, 8, (3, 4, 5))
"""Sizes of which no two that are exchanged easily are equal."""
TOLERANCE = 1e-4


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def network(shared: Path) -> SpadVit:
    """The reduced backbone of the fixtures."""
    return recorded_vit(shared)


@pytest.fixture(scope="module")
def recorded(shared: Path) -> dict[str, Tensor]:
    """All recorded arrays."""
    return read_recorded(shared)


@torch.no_grad()
def test_every_recorded_degree(network: SpadVit, recorded: dict[str, Tensor]) -> None:
    degrees = [degree for degree in range(10) if f"vit_a{degree}_out" in recorded]
    assert len(degrees) >= 3
    for degree in degrees:
        image, at = recorded[f"vit_a{degree}_in"], Anisotropy(degree)
        patches, after = network.embed(image, at)
        assert after == Anisotropy(degree, 4)
        torch.testing.assert_close(
            patches, recorded[f"vit_a{degree}_patch_embed"], atol=TOLERANCE, rtol=TOLERANCE
        )
        torch.testing.assert_close(
            network(image, at), recorded[f"vit_a{degree}_out"], atol=TOLERANCE, rtol=TOLERANCE
        )


@torch.no_grad()
def test_every_recorded_grid_of_positions(network: SpadVit, recorded: dict[str, Tensor]) -> None:
    names = [name for name in recorded if name.startswith("resample_")]
    assert len(names) >= 3
    for name in names:
        d, h, w = map(int, name.split("_")[1:])
        torch.testing.assert_close(
            resampled(network.pos_embed, (d, h, w)), recorded[name], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("grid", [(3, 4, 5), (1, 1, 1), (2, 3, 4), (6, 9, 13), (1, 9, 2), (40, 3, 7)])
def test_positions_are_shrunk_by_area_and_enlarged_linearly(grid: tuple[int, int, int]) -> None:
    stored = torch.randn(1, 6, 3, 4, 5)
    least = tuple(min(a, b) for a, b in zip(grid, (3, 4, 5), strict=True))
    wanted = F.interpolate(F.interpolate(stored, size=least, mode="area"), size=grid, mode="trilinear")
    torch.testing.assert_close(resampled(stored, grid), wanted, atol=1e-5, rtol=1e-5)


def test_the_published_network_has_the_published_names_and_shapes(shared: Path) -> None:
    published = published_shapes(shared)
    with torch.device("meta"):
        network = SpadVit(spad_vit_sizes_of(published))
    assert network.sizes == SPAD_VIT_B
    assert {name: tuple(value.shape) for name, value in network.state_dict().items()} == published
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS
    assert own_names([*published, "mask_token", "mim_head.0.weight", "tokenizer.norm.weight"]) == [*published]


@pytest.mark.parametrize("sizes", [SMALL, SPAD_VIT_B, SPAD_VIT_L])
def test_sizes_are_read_from_shapes(sizes: SpadVitSizes) -> None:
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in SpadVit(sizes).state_dict().items()}
    assert spad_vit_sizes_of(shapes) == sizes
    assert heads_of(sizes.width) == sizes.heads
    with pytest.raises(KeyError):
        spad_vit_sizes_of({name: shape for name, shape in shapes.items() if name != "pos_embed"})
    flat = {**shapes, "patch_embed.proj.weight": (sizes.width, sizes.channels, 4, 16, 16)}
    with pytest.raises(ValueError, match="4x16x16 voxels; wanted are three equal"):
        spad_vit_sizes_of(flat)


@torch.no_grad()
@pytest.mark.parametrize("degree", range(7))
def test_any_degree_has_its_patches(degree: int) -> None:
    network = random_vit(SMALL, 0)
    depth = max(8 >> degree, 1)
    assert SMALL.patch_dhw(degree) == (depth, 8, 8)
    image = torch.randn(2, 2, 2 * depth, 24, 16)
    assert network(image, Anisotropy(degree)).shape == (2, 1 + 2 * 3 * 2, 16)
    (first, last), there = network.features(image, Anisotropy(degree), (0, 2))
    assert first.shape == last.shape == (2, 16, 2, 3, 2)
    assert there == Anisotropy(degree, 3)
    # The last one is what is normed.
    normed = network.norm(last.flatten(2).transpose(1, 2))
    torch.testing.assert_close(normed, network(image, Anisotropy(degree))[:, 1:])


@torch.no_grad()
def test_a_volume_that_is_constant_along_depth_has_the_same_patches_at_any_degree() -> None:
    network = random_vit(SMALL, 0)
    slice_of = torch.randn(1, 2, 1, 16, 16)
    whole, _ = network.embed(slice_of.expand(1, 2, 8, 16, 16), Anisotropy(0))
    for degree in (1, 2, 3, 5):
        thin, _ = network.embed(slice_of.expand(1, 2, max(8 >> degree, 1), 16, 16), Anisotropy(degree))
        torch.testing.assert_close(thin, whole, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_attention_by_hand() -> None:
    torch.manual_seed(0)
    attention = RotaryAttention(8, 2)
    torch.nn.init.normal_(attention.q_bias)
    torch.nn.init.normal_(attention.v_bias)
    x, angles = torch.randn(1, 5, 8), torch.randn(5, 2)
    q = x @ attention.q_proj.weight.T + attention.q_bias
    k, v = x @ attention.k_proj.weight.T, x @ attention.v_proj.weight.T + attention.v_bias
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        scores = turned(q[..., part], angles) @ turned(k[..., part], angles).transpose(1, 2) / 4**0.5
        heads.append(scores.softmax(-1) @ v[..., part])
    wanted = torch.cat(heads, -1) @ attention.proj.weight.T + attention.proj.bias
    torch.testing.assert_close(attention(x, (angles.cos(), angles.sin())), wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_feed_forward_block_norms_its_product() -> None:
    block = SwiGlu(6, 10)
    x = torch.randn(2, 3, 6)
    a = x @ block.w1.weight.T + block.w1.bias
    product = a * a.sigmoid() * (x @ block.w2.weight.T + block.w2.bias)
    normed = (product - product.mean(-1, keepdim=True)) / (
        product.var(-1, keepdim=True, unbiased=False) + 1e-5
    ).sqrt()
    torch.testing.assert_close(block(x), normed @ block.w3.weight.T + block.w3.bias, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_class_has_no_place() -> None:
    network = random_vit(SMALL, 0)
    angles = network.angles((2, 3, 4))
    assert angles.shape == (25, 4)
    assert not angles[0].any()
    assert angles[2:].any(1).all()
    assert torch.equal(angles[1:], SMALL.rotary.angles((2, 3, 4), 8))


@pytest.mark.parametrize("shape", [(1, 2, 1, 16, 16), (1, 3, 8, 16, 16), (1, 2, 8, 7, 16)])
def test_an_image_without_a_whole_patch_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"wanted is \(B, 2, D, H, W\) with at least \(4, 8, 8\) voxels"):
        random_vit(SMALL, 0)(torch.zeros(shape), Anisotropy(1))


def test_random_weights_are_those_of_their_seed() -> None:
    first, again, other = (random_vit(SMALL, seed).blocks[0].mlp.w1.weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
