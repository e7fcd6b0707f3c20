"""FocalNet: the recorded features number for number, and the sizes of what is published."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

from tests.networks.recorded_biomedparse_v import (  # noqa: E402
    assert_recorded,
    read_recorded,
    read_shapes,
    read_weights,
    shapes_of,
)
from vesal.networks.focalnet import (  # noqa: E402
    FOCAL_LARGE,
    FocalBlock,
    FocalModulation,
    FocalNet,
    FocalSizes,
    PatchEmbed,
    focal_sizes_of,
)

PREFIX = "backbone."


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def published(shared: Path) -> FocalNet:
    """The reduced backbone of the fixtures."""
    tensors = read_weights(shared, PREFIX)
    model = FocalNet(focal_sizes_of(shapes_of(tensors)))
    model.load_state_dict(tensors)
    return model.eval()


@torch.no_grad()
def test_recorded_features(published: FocalNet, shared: Path) -> None:
    names = ("res2", "res3", "res4", "res5")
    recorded = read_recorded(shared, "backbone_in", *names)
    for features, name in zip(published(torch.from_numpy(recorded["backbone_in"])), names, strict=True):
        assert_recorded(features, recorded[name])


@torch.no_grad()
def test_recorded_first_block(published: FocalNet, shared: Path) -> None:
    """Patches, modulation and block, each of what was recorded before it."""
    recorded = read_recorded(
        shared, "backbone_in", "patch_embed", "stage0_block0_modulation", "stage0_block0_out"
    )
    patches = published.patch_embed(torch.from_numpy(recorded["backbone_in"]))
    assert_recorded(patches.permute(0, 3, 1, 2), recorded["patch_embed"])
    block = published.layers[0].blocks[0]
    assert isinstance(block, FocalBlock)
    assert_recorded(block.modulation(patches), recorded["stage0_block0_modulation"])
    assert_recorded(block(patches).flatten(1, 2), recorded["stage0_block0_out"])


def test_names_and_shapes_are_the_published_ones(shared: Path) -> None:
    with torch.device("meta"):
        ours = shapes_of(FocalNet(FOCAL_LARGE).state_dict())
    theirs = read_shapes(shared, PREFIX)
    assert ours == theirs
    assert sum(int(np.prod(shape)) for shape in theirs.values()) == 205_746_936
    assert focal_sizes_of(theirs) == FOCAL_LARGE


@pytest.mark.parametrize(
    ("sides", "patches"), [((64, 64), (16, 16)), ((65, 66), (17, 17)), ((67, 4), (17, 1)), ((1, 5), (1, 2))]
)
@torch.no_grad()
def test_any_size(sides: tuple[int, int], patches: tuple[int, int]) -> None:
    """Each stage halves the sides of the one before, rounded up."""
    found = FocalNet(FocalSizes(3, 8, (1, 1, 1, 1), (3, 5), 2)).eval()(torch.randn(2, 3, *sides))
    for stage, features in enumerate(found):
        assert features.shape == (2, 8 << stage, *(-(-side >> stage) for side in patches))


@torch.no_grad()
def test_odd_sides_are_padded_with_zeros_at_their_end() -> None:
    torch.manual_seed(0)
    embed = PatchEmbed(3, 8, 4)
    image = torch.randn(1, 3, 6, 9)
    padded = torch.nn.functional.pad(image, (0, 3, 0, 2))
    assert torch.equal(embed(image), embed(padded))


@torch.no_grad()
def test_modulation_gathers_its_levels() -> None:
    """One channel, kernels that change nothing: the mean of the gated contexts times the query."""
    modulation = FocalModulation(1, (3, 5))
    modulation.f.weight.copy_(torch.tensor([[1.0], [1], [0], [0], [0]]))
    modulation.f.bias.copy_(torch.tensor([0.0, 0, 2, 3, 4]))
    for name in ("h", "proj"):
        modulation.get_parameter(f"{name}.weight").fill_(1)
        modulation.get_parameter(f"{name}.bias").zero_()
    for kernel, layer in zip((3, 5), modulation.focal_layers, strict=True):
        weight = layer.get_parameter("0.weight").zero_()
        weight[..., kernel // 2, kernel // 2] = 1
    x = torch.tensor([1.0, 2, 3, 4]).reshape(1, 2, 2, 1)
    gelu = torch.nn.functional.gelu
    first = gelu(x)
    second = gelu(first)
    wanted = x * (2 * first + 3 * second + 4 * gelu(second.mean())) / 3
    assert torch.allclose(modulation(x), wanted)


def test_sizes_need_all_tensors_that_tell_them() -> None:
    with pytest.raises(KeyError, match="patch_embed"):
        focal_sizes_of({})
