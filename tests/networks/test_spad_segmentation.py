"""Segmentation on SPAD-ViT: recorded outputs, the published names, and its graph."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="the networks' definitions need torch")

from torch import Tensor  # noqa: E402

from tests.networks.recorded_spad import FOLDER, read_recorded  # noqa: E402
from vesal.networks.spad import Anisotropy  # noqa: E402
from vesal.networks.spad_segmentation import (  # noqa: E402
    PATCH_WEIGHT,
    SPAD_BTCV,
    SPAD_CHAOS,
    SegmentationSizes,
    SpadSegmentation,
    begun_from,
    seen_blocks,
    segmentation_of,
    segmentation_sizes_of,
)
from vesal.networks.spad_vit import SpadVit, SpadVitSizes  # noqa: E402
from vesal.weights.shared_file import OPSET  # noqa: E402
from vesal.weights.text.export import read_safetensors  # noqa: E402

TOLERANCE = 1e-4
SMALL = SegmentationSizes(
    SpadVitSizes(1, 24, 64, 4, 2, positions_dhw=(4, 4, 4)), (0, 1, 2, 3), (16, 24, 32, 32), (8, 12), 5
)
"""Sizes of the recorded network."""


@pytest.fixture(scope="module")
def tensors(shared: Path) -> dict[str, Tensor]:
    """Of the recorded network, by their published names."""
    torch.set_num_threads(1)
    return read_safetensors((shared / FOLDER / "seg_weights.safetensors").read_bytes())


@torch.no_grad()
def test_recorded_feature_maps_and_logits(shared: Path, tensors: dict[str, Tensor]) -> None:
    recorded, network = read_recorded(shared), segmentation_of(tensors)
    assert network.sizes == SMALL
    image = recorded["seg_in"]
    pyramid = [x for x, _ in network.backbone.pyramid(image, Anisotropy(2))]
    known = [n for n in range(4) if f"seg_fpn{n}" in recorded]
    assert known
    for n in known:
        torch.testing.assert_close(pyramid[n], recorded[f"seg_fpn{n}"], atol=TOLERANCE, rtol=TOLERANCE)
    torch.testing.assert_close(network(image), recorded["seg_out"], atol=TOLERANCE, rtol=TOLERANCE)


def test_names_and_shapes_are_the_published_ones(shared: Path) -> None:
    listed = {}
    for line in (shared / FOLDER / "seg_state_dict.txt").read_text().splitlines():
        name, shape = line.split("\t")
        listed[name] = tuple(int(n) for n in shape.strip("(),").split(",") if n)
    own = {name: tuple(value.shape) for name, value in SpadSegmentation(SMALL).state_dict().items()}
    assert own == listed


@torch.no_grad()
def test_it_begins_from_a_backbone_as_released() -> None:
    torch.manual_seed(0)
    published = SpadVit(SpadVitSizes(3, 24, 64, 4, 2, positions_dhw=(2, 3, 3))).eval()
    network = begun_from(published.state_dict(), SMALL).eval()
    image = torch.randn(1, 1, 16, 64, 64)
    # Patches of four slices, as the backbone sees a volume of degree 2; the grey image came three times.
    wanted, _ = published.embed(image.expand(-1, 3, -1, -1, -1), Anisotropy(2))
    torch.testing.assert_close(network.backbone.embed(image, Anisotropy(2))[0], wanted, atol=1e-4, rtol=1e-4)
    assert tuple(network.backbone.pos_embed.shape) == (1, 24, 4, 4, 4)
    with pytest.raises(RuntimeError, match="cls_token"):
        begun_from({k: v for k, v in published.state_dict().items() if k != "cls_token"}, SMALL)


def test_sizes_of_the_published_segmenters() -> None:
    # Blocks 3, 5, 7, 11 of B; 7, 11, 15, 23 of L.
    assert (seen_blocks(12), seen_blocks(24)) == ((3, 5, 7, 11), (7, 11, 15, 23))
    assert SPAD_BTCV.after == (3, 5, 7, 11)
    assert (SPAD_BTCV.backbone.channels, SPAD_BTCV.classes) == (1, 14)
    assert (SPAD_CHAOS.backbone.channels, SPAD_CHAOS.classes) == (2, 5)


def test_sizes_are_read_from_shapes() -> None:
    with torch.device("meta"):
        state = SpadSegmentation(SPAD_CHAOS).state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    assert segmentation_sizes_of(shapes) == SPAD_CHAOS
    shapes[PATCH_WEIGHT] = (768, 2, 5, 16, 16)
    with pytest.raises(ValueError, match="5x16x16"):
        segmentation_sizes_of(shapes)


@torch.no_grad()
def test_its_graph_agrees_in_both_runtimes(tmp_path: Path) -> None:
    from openvino import Core

    torch.manual_seed(0)
    network, path = SpadSegmentation(SMALL).eval(), tmp_path / "seg.onnx"
    axes = {2: "depth", 3: "height", 4: "width"}
    torch.onnx.export(
        network,
        (torch.randn(1, 1, 16, 64, 64),),
        str(path),
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": axes, "logits": axes},
        opset_version=OPSET,
        dynamo=False,
    )
    # Other sides than those of the export.
    image = torch.randn(1, 1, 8, 96, 64)
    wanted = network(image).numpy()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    compiled = Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    np.testing.assert_allclose(session.run(None, {"image": image.numpy()})[0], wanted, atol=TOLERANCE)
    np.testing.assert_allclose(compiled({"image": image.numpy()})["logits"], wanted, atol=TOLERANCE)
