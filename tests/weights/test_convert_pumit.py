"""PUMIT's SPAD-ViT: its published layout becomes a folder to fine-tune from, other files are told by name."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="published files are converted with torch")
pytest.importorskip("onnx", reason="conversion writes ONNX graphs")

from torch import Tensor  # noqa: E402

from tests.networks.recorded_spad import published_shapes, recorded_vit, vit_weights  # noqa: E402
from tests.weights.made_biomedparse_v import write_safetensors  # noqa: E402
from vesal.inference.runtime.choice import choose_runtime  # noqa: E402
from vesal.networks.spad import Anisotropy  # noqa: E402
from vesal.networks.spad_vit import SpadVit, SpadVitSizes, random_vit  # noqa: E402
from vesal.weights.convert import __main__ as command  # noqa: E402
from vesal.weights.convert.backbone import ABOUT, WEIGHTS, convert_backbone, read_backbone  # noqa: E402
from vesal.weights.convert.errors import (  # noqa: E402
    CheckpointError,
    ConversionError,
    MissingTensorsError,
    UnsafeCheckpointError,
)
from vesal.weights.convert.spad_vit_graphs import COLOURS, backbone_graphs, degrees_of, normalised  # noqa: E402
from vesal.weights.convert.systems import pumit  # noqa: E402
from vesal.weights.convert.systems.pumit import PUMIT  # noqa: E402
from vesal.weights.digest import sha256  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the exporter
SMALL = SpadVitSizes(3, 24, 20, 2, 2, 8, (2, 3, 4))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def network() -> SpadVit:
    """A small backbone that takes three channels, as the published one does."""
    return random_vit(SMALL, 5)


@pytest.fixture(scope="module")
def tensors(network: SpadVit) -> dict[str, Tensor]:
    """Those of the small backbone, under the published names."""
    return dict(network.state_dict())


def write_lightning(
    tensors: dict[str, Tensor], path: Path, prefix: str = "", key: str = "state_dict"
) -> Path:
    """A checkpoint as the pre-training writes it, with its head and the optimizer's state."""
    width = 24
    state = {f"{prefix}{name}": value for name, value in tensors.items()}
    state |= {
        f"{prefix}mask_token": torch.ones(1, 1, width),
        f"{prefix}mim_head.0.weight": torch.ones(width, width),
        f"{prefix}mim_head.2.weight": torch.ones(8, width),
    }
    moments = {number: {"exp_avg": value.clone()} for number, value in enumerate(tensors.values())}
    content = {
        key: state,
        "global_step": 300_000,
        "epoch": 0,
        "optimizer_states": [{"state": moments, "param_groups": [{"lr": 2e-5, "params": list(moments)}]}],
    }
    torch.save(content, path)
    return path


CONTAINERS: dict[str, Callable[[dict[str, Tensor], Path], Path]] = {
    "lightning": lambda tensors, folder: write_lightning(tensors, folder / "pumit-b.ckpt"),
    "wrapped": lambda tensors, folder: write_lightning(tensors, folder / "pumit-b.ckpt", "module."),
    "below model": lambda tensors, folder: write_lightning(tensors, folder / "b.pth", key="model"),
    "safetensors": lambda tensors, folder: write_safetensors(tensors, folder / "b.safetensors"),
    "bfloat16": lambda tensors, folder: write_safetensors(
        {name: value.bfloat16() for name, value in tensors.items()}, folder / "b.safetensors", "BF16"
    ),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_one_network(
    container: str, network: SpadVit, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    found = read_backbone(PUMIT, CONTAINERS[container](tensors, tmp_path))
    assert found.sizes == network.sizes
    exact = container != "bfloat16"
    for name, value in found.state_dict().items():
        assert torch.equal(value, tensors[name] if exact else tensors[name].bfloat16().float()), name


def test_the_recorded_backbone_gives_what_was_recorded(shared: Path, tmp_path: Path) -> None:
    path = write_safetensors(vit_weights(shared), tmp_path / "vit.safetensors")
    found, wanted = read_backbone(PUMIT, path), recorded_vit(shared)
    image = torch.rand(1, 1, 8, 32, 48)
    with torch.no_grad():
        assert torch.equal(found(image, Anisotropy(2)), wanted(image, Anisotropy(2)))


def test_the_command_writes_a_folder_to_begin_from(
    network: SpadVit, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    checkpoint, out = write_lightning(tensors, tmp_path / "pumit-b.ckpt"), tmp_path / "out"
    assert command.main(["pumit", "--checkpoint", str(checkpoint), "-o", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [ABOUT, WEIGHTS]
    about = json.loads((out / ABOUT).read_text())
    assert about["sizes"]["width"] == 24
    assert about["sizes"]["positions_dhw"] == [2, 3, 4]
    assert about["stored"] == "fp16"
    assert 0 < about["changed"] < 0.01
    assert about["normalisation"]["mean"] == [0.485, 0.456, 0.406]
    assert about["parameters"] == sum(value.numel() for value in tensors.values())
    assert about["files"] == {WEIGHTS: {"sha256": sha256(out / WEIGHTS)}}
    source = about["provenance"]["files"]["backbone"]
    assert source == {"file": "pumit-b.ckpt", "sha256": sha256(checkpoint), "step": 300_000}
    written = read_backbone(PUMIT, out / WEIGHTS)
    assert written.sizes == network.sizes
    for name, value in written.state_dict().items():
        assert torch.equal(value, tensors[name].half().float()), name


def test_weights_that_fp16_cannot_hold_are_stored_in_fp32(
    tensors: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    big = dict(tensors)
    big["cls_token"] = torch.full_like(tensors["cls_token"], 1e6)
    path = write_lightning(big, tmp_path / "pumit-b.ckpt")
    about = convert_backbone(PUMIT, path, tmp_path / "out")
    assert about["stored"] == "fp32"
    assert "fp32 is stored" in caplog.text
    assert torch.equal(read_backbone(PUMIT, tmp_path / "out" / WEIGHTS).cls_token, big["cls_token"])
    with pytest.raises(ConversionError, match="beyond 65504"):
        convert_backbone(PUMIT, path, tmp_path / "out", "fp16")


@pytest.mark.parametrize("store", ["fp16", "fp32"])
def test_graphs_are_written_where_they_are_asked_for(
    store: str, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    checkpoint, out = write_lightning(tensors, tmp_path / "pumit-b.ckpt"), tmp_path / "out"
    line = ["pumit", "--checkpoint", str(checkpoint), "-o", str(out), "--store", store, "--graphs"]
    assert command.main(line) == 0
    about = json.loads((out / ABOUT).read_text())
    assert about["graphs"] == [f"degree{degree}.onnx" for degree in range(4)]
    assert about["graphs_differ"] < (1e-2 if store == "fp16" else 1e-4)
    assert set(about["files"]) == {WEIGHTS, "weights.bin", *about["graphs"]}


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_graph_of_every_degree_is_its_network_at_sizes_it_was_not_traced_with(
    runtime: str, network: SpadVit, tmp_path: Path
) -> None:
    graphs = backbone_graphs(network, tmp_path / "traced")
    assert list(graphs) == [f"degree{degree}.onnx" for degree in range(4)]
    loaded = choose_runtime(runtime, threads=1)
    for degree, (name, graph) in zip(degrees_of(network), graphs.items(), strict=True):
        (tmp_path / name).write_bytes(graph.SerializeToString())
        run = loaded.load(tmp_path / name, "fp32")
        for grid in ((1, 1, 1), (3, 2, 5), (1, 6, 3)):
            sides = network.sizes.patch_dhw(degree)
            grey = torch.rand(1, 1, *(n * side for n, side in zip(grid, sides, strict=True)))
            found = run({"image": grey.numpy()})
            # A degree beyond the last graph's has that graph.
            for at in (degree, degree + 4) if degree == 3 else (degree,):
                with torch.no_grad():
                    wanted = network(normalised(grey, COLOURS), Anisotropy(at)).numpy()
                tokens = found["features"].reshape(1, 24, -1).swapaxes(1, 2)
                assert found["features"].shape[2:] == grid
                np.testing.assert_allclose(tokens, wanted[:, 1:], atol=1e-4)
                np.testing.assert_allclose(found["volume"], wanted[:, 0], atol=1e-4)


def test_graphs_that_differ_are_refused(
    tensors: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vesal.weights.convert.spad_vit_graphs.MEAN", (0.5, 0.5, 0.5))
    path = write_lightning(tensors, tmp_path / "pumit-b.ckpt")
    monkeypatch.setattr(pumit, "normalised", lambda grey, channels: grey.expand(-1, channels, -1, -1, -1))
    with pytest.raises(ConversionError, match="graphs of PUMIT's SPAD-ViT-B differ"):
        convert_backbone(PUMIT, path, tmp_path / "out", "fp32", True)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "lost", ["cls_token", "pos_embed", "patch_embed.proj.bias", "blocks.1.attn.q_bias", "norm.bias"]
)
def test_missing_tensors_are_named(
    lost: str, tensors: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_lightning({n: v for n, v in tensors.items() if n != lost}, tmp_path / "pumit-b.ckpt")
    with pytest.raises(MissingTensorsError) as error:
        read_backbone(PUMIT, path)
    assert error.value.missing == (lost,)
    assert command.main(["pumit", "--checkpoint", str(path), "-o", str(tmp_path / "out")]) == 2
    assert f"Missing: {lost}" in caplog.text


def test_of_the_published_width_the_last_block_is_missed_too(shared: Path) -> None:
    shapes = published_shapes(shared)
    assert PUMIT.network.expected(shapes) == list(shapes)
    short = {name: shape for name, shape in shapes.items() if not name.startswith("blocks.11.")}
    missing = set(PUMIT.network.expected(short)) - set(short)
    assert len(missing) == 19
    assert all(name.startswith("blocks.11.") for name in missing)


def segmenter(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As the fine-tuned networks are laid out."""
    inside = {f"backbone.{name}": value for name, value in tensors.items()}
    return inside | {
        "decoder.inner.laterals.0.conv.weight": torch.ones(2, 2),
        "seg_heads.0.bias": torch.ones(5),
    }


def eva(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """As EVA-02 is laid out: patches and positions without depth."""
    flat = {
        "patch_embed.proj.weight": tensors["patch_embed.proj.weight"][:, :, 0],
        "pos_embed": torch.ones(1, 257, 24),
    }
    return tensors | flat


TOKENIZER = {
    "encoder.0.weight": torch.ones(4, 3, 4, 4, 4),
    "quantize.embedding.weight": torch.ones(8, 4),
    "decoder.0.weight": torch.ones(4, 4, 2, 2, 2),
}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (segmenter, "fine-tuned on the backbone, .* BTCV and CHAOS"),
        (eva, r"EVA-02 \(as in eva02_B_pt_in21k_p14\.pt\)"),
        (lambda _: TOKENIZER, r"visual tokenizer \(as simple-soft\.ckpt does\)"),
        (lambda tensors: {f"tokenizer.{n}": v for n, v in TOKENIZER.items()}, "visual tokenizer"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_of_another_kind_is_told_by_name(
    make: Callable[[dict[str, Tensor]], dict[str, Tensor]],
    told: str,
    prefix: str,
    tensors: dict[str, Tensor],
    tmp_path: Path,
) -> None:
    state = {f"{prefix}{name}": value for name, value in make(tensors).items()}
    torch.save({"state_dict": state}, tmp_path / "given.ckpt")
    with pytest.raises(CheckpointError, match=rf"given\.ckpt holds .*{told}.*wanted is .* pumit-b\.ckpt"):
        read_backbone(PUMIT, tmp_path / "given.ckpt")


def test_one_tensor_under_two_names_is_refused(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    twice = tensors | {"module.norm.bias": tensors["norm.bias"]}
    with pytest.raises(CheckpointError, match=r"holds norm\.bias and module\.norm\.bias, two tensors"):
        read_backbone(PUMIT, write_lightning(twice, tmp_path / "pumit-b.ckpt"))


def test_a_pickle_that_asks_for_more_is_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "evil": Path("x")}, tmp_path / "pumit-b.ckpt")
    with pytest.raises(UnsafeCheckpointError):
        read_backbone(PUMIT, tmp_path / "pumit-b.ckpt")


def test_sizes_that_contradict_each_other_are_refused(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    odd = tensors | {"blocks.1.mlp.w3.weight": torch.ones(24, 7)}
    with pytest.raises(CheckpointError, match=r"blocks\.1\.mlp\.w3\.weight .* do not go with the others"):
        read_backbone(PUMIT, write_lightning(odd, tmp_path / "pumit-b.ckpt"))
    thin = tensors | {"patch_embed.proj.weight": torch.ones(24, 3, 4, 8, 8)}
    with pytest.raises(CheckpointError, match="patches of 4x8x8 voxels"):
        read_backbone(PUMIT, write_lightning(thin, tmp_path / "pumit-b.ckpt"))


def test_a_folder_stays_as_it_was_where_a_file_is_wrong(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    out = tmp_path / "out"
    convert_backbone(PUMIT, write_lightning(tensors, tmp_path / "a.ckpt"), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    torch.save({"state_dict": TOKENIZER}, tmp_path / "b.ckpt")
    assert command.main(["pumit", "--checkpoint", str(tmp_path / "b.ckpt"), "-o", str(out)]) == 2
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
