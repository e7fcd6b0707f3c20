"""Segmentation on SPAD-ViT: recorded outputs, the published names, and its graph."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="the networks' definitions need torch")

from torch import Tensor  # noqa: E402

from tests.networks.recorded_spad import FOLDER, read_recorded  # noqa: E402
from vesal.networks.spad import Anisotropy, SpadConv  # noqa: E402
from vesal.networks.spad_segmentation import (  # noqa: E402
    PATCH_WEIGHT,
    SPAD_BTCV,
    SPAD_CHAOS,
    SegmentationSizes,
    SpadSegmentation,
    seen_blocks,
    segmentation_of,
    segmentation_sizes_of,
    with_cubic_patches,
)
from vesal.networks.spad_vit import SpadVitSizes  # noqa: E402
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
    # Ours is the cube that theirs, of four slices, is the sum of.
    assert own.pop(PATCH_WEIGHT) == (24, 1, 16, 16, 16)
    assert listed.pop(PATCH_WEIGHT) == (24, 1, 4, 16, 16)
    assert own == listed


def test_a_patch_of_four_slices_is_the_sum_of_a_cube() -> None:
    layer = SpadConv(2, 3, 16, 16)
    summed = torch.randn(3, 2, 4, 16, 16)
    image = torch.randn(1, 2, 8, 16, 32)
    with torch.no_grad():
        layer.weight.copy_(with_cubic_patches({PATCH_WEIGHT: summed})[PATCH_WEIGHT])
        wanted = torch.nn.functional.conv3d(image, summed, layer.bias, (4, 16, 16))
        torch.testing.assert_close(layer(image, Anisotropy(2))[0], wanted)


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
    shapes[PATCH_WEIGHT] = (768, 2, 4, 16, 16)
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
