"""The visual tokenizer: its grid at every degree, soft tokens, one set of weights, and its graphs."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="the networks' definitions need torch")

from torch import Tensor, nn  # noqa: E402

from vesal.networks.spad import Anisotropy  # noqa: E402
from vesal.networks.spad_vt import (  # noqa: E402
    Discriminator,
    SoftCodebook,
    SpadVt,
    VtSizes,
    patch_dhw,
)
from vesal.weights.shared_file import OPSET  # noqa: E402

SMALL = VtSizes(widths=(8, 8, 16), codebook=12, embedding=6)
DEGREES = range(6)


@pytest.fixture(scope="module")
def network() -> SpadVt:
    """A small one, with random weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return SpadVt(SMALL).eval()


def volume(degree: int) -> Tensor:
    """Two patches along depth, two by three in plane: (1, 1, D, 32, 48), -1..1."""
    generator = torch.Generator().manual_seed(degree)
    return torch.rand(1, 1, 2 * patch_dhw(degree)[0], 32, 48, generator=generator) * 2 - 1


@pytest.mark.parametrize("degree", DEGREES)
@torch.no_grad()
def test_a_token_stands_for_one_patch_at_every_degree(network: SpadVt, degree: int) -> None:
    image = volume(degree)
    found = network(image, degree)
    assert patch_dhw(degree) == (max(16 >> degree, 1), 16, 16)
    assert tuple(found.probabilities.shape) == (1, SMALL.codebook, 2, 2, 3)
    assert found.image.shape == image.shape
    torch.testing.assert_close(found.probabilities.sum(1), torch.ones(1, 2, 2, 3))


@torch.no_grad()
def test_from_degree_5_on_slices_never_meet(network: SpadVt) -> None:
    image = volume(5)
    torch.testing.assert_close(network(image, 5).image, network(image, 9).image)
    # At 4 the last convolutions of the encoder see the neighbouring slices: depth has caught up by then.
    assert not torch.allclose(network(image, 4).image, network(image, 5).image, atol=1e-2)


def test_the_published_codebook_is_the_default() -> None:
    codebook = SoftCodebook(VtSizes())
    assert tuple(codebook.embedding.shape) == (1024, 512)


@torch.no_grad()
def test_a_soft_token_is_the_mean_of_its_embeddings() -> None:
    codebook = SoftCodebook(VtSizes(codebook=3, embedding=2))
    codebook.embedding.copy_(torch.tensor([[1.0, 0.0], [0.0, 4.0], [8.0, 8.0]]))
    token = torch.tensor([0.5, 0.25, 0.25]).reshape(1, 3, 1, 1, 1)
    # 0.5 (1, 0) + 0.25 (0, 4) + 0.25 (8, 8)
    torch.testing.assert_close(codebook(token).flatten(), torch.tensor([2.5, 3.0]))


@torch.no_grad()
def test_brightness_is_seen_before_training(network: SpadVt) -> None:
    """Layer norms behind convolutions without bias would show the sign of a patch alone."""
    dark, dim = (
        network.encoder.down[0](torch.full((1, 1, 4, 4, 4), v), Anisotropy(0))[0] for v in (-0.9, -0.3)
    )
    assert float((dark - dim).abs().max()) > 0.05


def test_the_loss_reaches_encoder_codebook_and_decoder(network: SpadVt) -> None:
    network.zero_grad()
    network(volume(1), 1).image.square().mean().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    network.zero_grad()
    assert without == []


@pytest.mark.parametrize("degree", DEGREES)
@torch.no_grad()
def test_the_adversary_judges_parts_of_a_volume_of_any_degree(degree: int) -> None:
    adversary = Discriminator(widths=(8, 8))
    depth = 2 * patch_dhw(degree)[0]
    assert tuple(adversary(volume(degree), degree).shape[2:]) == (max(depth >> max(2 - degree, 0), 1), 8, 12)


class OneDegree(nn.Module):
    """The tokenizer at one degree, as a graph."""

    def __init__(self, network: SpadVt, degree: int) -> None:
        super().__init__()
        self.network, self.degree = network, degree

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """See ``SpadVt.forward``."""
        found = self.network(image, self.degree)
        return found.probabilities, found.image


@pytest.mark.parametrize("degree", DEGREES)
@torch.no_grad()
def test_its_graph_of_every_degree_agrees_in_both_runtimes(
    network: SpadVt, degree: int, tmp_path: Path
) -> None:
    from openvino import Core

    axes = {2: "depth", 3: "height", 4: "width"}
    names = ("probabilities", "reconstruction")
    torch.onnx.export(
        OneDegree(network, degree),
        (volume(degree),),
        str(tmp_path / "vt.onnx"),
        input_names=["image"],
        output_names=list(names),
        dynamic_axes={name: axes for name in ("image", *names)},
        opset_version=OPSET,
        dynamo=False,
    )
    # Other sides than those of the export: one patch along depth, three by two in plane.
    image = volume(degree)[:, :, : patch_dhw(degree)[0]].transpose(3, 4).contiguous()
    wanted = [value.numpy() for value in network(image, degree)]
    session = onnxruntime.InferenceSession(str(tmp_path / "vt.onnx"), providers=["CPUExecutionProvider"])
    compiled = Core().compile_model(str(tmp_path / "vt.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = compiled({"image": image.numpy()})
    for name, ours, value in zip(names, session.run(None, {"image": image.numpy()}), wanted, strict=True):
        np.testing.assert_allclose(ours, value, atol=1e-5)
        np.testing.assert_allclose(found[name], value, atol=1e-4)
