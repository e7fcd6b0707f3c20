"""PUMIT's segmenters: a checkpoint of the reduced network becomes a folder that the engine opens."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="published files are converted with torch")
pytest.importorskip("onnx", reason="conversion writes ONNX graphs")

from torch import Tensor  # noqa: E402

from tests.weights.made import randomised  # noqa: E402
from vesal.inference.families.closed import ClosedModel  # noqa: E402
from vesal.inference.families.registry import check_profile, open_model  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.runtime.choice import choose_runtime  # noqa: E402
from vesal.networks.spad_segmentation import SegmentationSizes, SpadSegmentation, segmentation_of  # noqa: E402
from vesal.networks.spad_vit import SpadVitSizes  # noqa: E402
from vesal.weights.convert.__main__ import main as convert  # noqa: E402

BTCV = SegmentationSizes(
    SpadVitSizes(1, 24, 64, 4, 2, positions_dhw=(3, 3, 3)), (0, 1, 2, 3), (8, 8, 16, 16), (4, 4), 14
)
CHAOS = replace(BTCV, backbone=replace(BTCV.backbone, channels=2), classes=5)
SIZES = {"pumit-btcv": BTCV, "pumit-chaos": CHAOS}


def made(system: str) -> dict[str, Tensor]:
    """Tensors of a reduced network."""
    torch.set_num_threads(1)
    return randomised(SpadSegmentation(SIZES[system]), 0).state_dict()


def write(path: Path, tensors: dict[str, Tensor], prefix: str = "") -> Path:
    """A checkpoint as Lightning writes it."""
    state = {f"{prefix}{name}": value for name, value in tensors.items()}
    torch.save({"state_dict": state, "global_step": 50000, "hyper_parameters": {"lr": 1e-4}}, path)
    return path


def run(system: str, path: Path, out: Path) -> int:
    """The command."""
    files = ["--checkpoint", str(path), "--output", str(out)]
    return convert([system, *files, "--store", "fp32", "--precision", "fp32"])


@pytest.mark.parametrize(("system", "prefix"), [("pumit-btcv", ""), ("pumit-chaos", "model.")])
@torch.no_grad()
def test_a_checkpoint_becomes_a_folder_of_the_family(system: str, prefix: str, tmp_path: Path) -> None:
    tensors = made(system)
    assert run(system, write(tmp_path / "last.ckpt", tensors, prefix), tmp_path / "out") == 0
    profile = read_profile(tmp_path / "out")
    check_profile(profile)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    channels = SIZES[system].backbone.channels
    assert manifest["network"]["channels"] == channels
    assert manifest["network"]["multiple_dhw"] == [8, 32, 32]
    assert len(manifest["classes"]) == SIZES[system].classes - 1
    runtime = choose_runtime("openvino", 1)
    model = open_model(profile, runtime)
    assert isinstance(model, ClosedModel) and model.knows("liver")
    image = np.random.default_rng(0).normal(size=(1, channels, 16, 64, 96)).astype(np.float32)
    wanted = segmentation_of(tensors)(torch.from_numpy(image)).softmax(1).numpy()
    found = runtime.load(tmp_path / "out/network.onnx", "fp32")({"image": image})["probability"]
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_published_rules_are_those_of_the_paper() -> None:
    """Window and spacing of both (appendix F)."""
    root = Path(__file__).resolve().parent.parent.parent / "weights"
    found = {}
    for system in SIZES:
        content = json.loads((root / system / "profile/profile.json").read_text())
        layout = content["stages"][0]["layout"]
        found[system] = layout["window_dhw"], layout["spacing_dhw_mm"], content["intensity"]
    btcv = {"kind": "window", "low_hu": -175, "high_hu": 250}
    assert found["pumit-btcv"] == ([48, 192, 192], [3.0, 0.75, 0.75], btcv)
    assert found["pumit-chaos"] == ([32, 192, 192], [9.0, 1.62, 1.62], {"kind": "standardised"})


def test_other_files_are_refused_by_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tensors = made("pumit-chaos")
    backbone = {k.removeprefix("backbone."): v for k, v in tensors.items() if k.startswith("backbone.")}
    assert run("pumit-btcv", write(tmp_path / "b.ckpt", backbone), tmp_path / "out") == 2
    assert "pre-trained backbone without a decoder" in caplog.text
    assert run("pumit-btcv", write(tmp_path / "c.ckpt", tensors), tmp_path / "out") == 2
    assert "a segmenter of 4 classes; those of PUMIT's segmenter for BTCV have 13" in caplog.text
    del tensors["seg_heads.0.bias"]
    assert run("pumit-chaos", write(tmp_path / "d.ckpt", tensors), tmp_path / "out") == 2
    assert "seg_heads.0.bias" in caplog.text
    assert not (tmp_path / "out/manifest.json").exists()
