"""Training that begins from a SPAD-ViT: a converted one, or one that was pre-trained here."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import THIN, write_volume  # noqa: E402
from tests.training.test_loop import step_on, view  # noqa: E402
from tests.training.trainers import same, trainer  # noqa: E402
from vesal.inference.families.registry import check_profile  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.runtime.choice import choose_runtime  # noqa: E402
from vesal.networks.masked import MaskedVit  # noqa: E402
from vesal.networks.nano import TEXT  # noqa: E402
from vesal.networks.spad_vit import SpadVit, SpadVitSizes, random_vit  # noqa: E402
from vesal.training.__main__ import main  # noqa: E402
from vesal.training.backbone import BackboneError, begin_from, begin_from_vit, read_vit  # noqa: E402
from vesal.training.export import INPUTS  # noqa: E402
from vesal.training.loop import CHECKPOINT  # noqa: E402
from vesal.training.pretrain.learn import ENCODER  # noqa: E402
from vesal.training.store import Volume  # noqa: E402
from vesal.training.vit import prompted_sizes  # noqa: E402
from vesal.weights.convert.backbone import ABOUT, WEIGHTS, convert_backbone  # noqa: E402
from vesal.weights.convert.systems.pumit import PUMIT  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
SMALL = SpadVitSizes(3, 24, 20, 3, 2, 16, (2, 3, 4))
PATCH = "patch_embed.proj.weight"


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the converter wrote of a small backbone."""
    folder = tmp_path_factory.mktemp("backbone")
    torch.save({"state_dict": random_vit(SMALL, 3).state_dict()}, folder / "pumit-b.ckpt")
    convert_backbone(PUMIT, folder / "pumit-b.ckpt", folder / "out", "fp32")
    return folder / "out"


def read(folder: Path) -> SpadVit:
    vit = read_vit(folder)
    assert vit is not None
    return vit


def test_a_run_begins_from_a_converted_backbone(converted: Path, tmp_path: Path) -> None:
    vit = read(converted)
    assert vit.sizes == SMALL
    assert same(vit.state_dict(), random_vit(SMALL, 3).state_dict())
    run = trainer(tmp_path, backbone=vit.sizes)
    begin_from_vit(run, vit)
    inside = run.model.backbone.state_dict()
    for name, value in vit.state_dict().items():
        if name != PATCH:
            assert torch.equal(inside[name], value), name
    grey = vit.state_dict()[PATCH].sum(1)
    for channel, share in enumerate((0.5, 0.5, 0.0)):
        torch.testing.assert_close(inside[PATCH][:, channel], grey * share)
    assert same(run.average, run.model.state_dict())


def test_a_backbone_that_was_pre_trained_here_keeps_its_channels(tmp_path: Path) -> None:
    sizes = SpadVitSizes(2, 24, 20, 3, 2, 16, (2, 3, 4))
    vit = random_vit(sizes, 4)
    torch.save(MaskedVit(vit).state_dict(), tmp_path / ENCODER)
    found = read(tmp_path)
    assert found.sizes == sizes
    run = trainer(tmp_path / "run", backbone=found.sizes)
    begin_from_vit(run, found)
    kernels = run.model.backbone.state_dict()[PATCH]
    assert torch.equal(kernels[:, :2], vit.state_dict()[PATCH])
    assert not kernels[:, 2].any()


def test_nano_s_encoder_is_no_vit(tmp_path: Path) -> None:
    run = trainer(tmp_path / "run")
    torch.save({name: value for name, value in run.model.state_dict().items()}, tmp_path / ENCODER)
    assert read_vit(tmp_path) is None
    begin_from(run, tmp_path)


def test_it_learns_and_goes_on_where_it_stopped(converted: Path, tmp_path: Path, volume: Volume) -> None:
    vit = read(converted)
    run = trainer(tmp_path / "w", backbone=vit.sizes)
    begin_from_vit(run, vit)
    item = view(volume)
    first = run.model.backbone.blocks[0].mlp.w1.weight.clone()
    loss = step_on(run, item)
    assert step_on(run, item) < loss
    learnt = run.model.backbone.blocks[0].mlp.w1.weight
    assert not torch.equal(learnt, first)
    run.save()
    again = trainer(tmp_path / "w", backbone=vit.sizes)
    assert torch.equal(again.model.backbone.blocks[0].mlp.w1.weight, learnt)
    with pytest.raises(ValueError, match="network on SPAD-ViT, wanted nano's encoder; give its --backbone"):
        trainer(tmp_path / "w")
    with pytest.raises(ValueError, match=r"widths \(8, 8, 16, 16\), wanted \(8, 8, 16, 24\)"):
        trainer(tmp_path / "w", backbone=vit.sizes, widths=(8, 8, 16, 24))
    trainer(tmp_path / "n").save()
    with pytest.raises(ValueError, match="network on nano's encoder, wanted SPAD-ViT"):
        trainer(tmp_path / "n", backbone=vit.sizes)


def test_the_command_trains_and_exports_a_folder_that_opens(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_volume(tmp_path / "data/train/CT_HeadNeck/CT_HeadNeck_1.npz")
    line = ["training", "--data", tmp_path / "data", "--out", tmp_path / "out", "--work", tmp_path / "work"]
    line += ["--steps", 1, "--processes", 1, "--widths", *THIN, "--without", "synthetic"]
    monkeypatch.setattr(sys, "argv", [str(part) for part in [*line, "--backbone", converted]])
    main()
    profile = read_profile(tmp_path / "out")
    assert check_profile(profile).highest_degree == 4
    assert json.loads((tmp_path / "out/manifest.json").read_text())["family"] == "spad"
    graph = choose_runtime("onnxruntime", threads=1).load(tmp_path / "out/degree1.onnx")
    given = (
        np.zeros((1, 2, 8, 32, 16), np.float32),
        np.zeros((1, 1, 8, 32, 16), np.float32),
        np.ones((1, 1, TEXT), np.float32),
        *(np.zeros((1, 1), np.int64) for _ in range(2)),
    )
    found = graph(dict(zip(INPUTS, given, strict=True)))
    assert found["probability"].shape == (1, 1, 8, 32, 16)
    assert np.isfinite(found["probability"]).all()


def test_fresh_takes_the_kind_of_network_and_nothing_learnt(
    converted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_volume(tmp_path / "data/train/CT_HeadNeck/CT_HeadNeck_1.npz")
    line = ["training", "--data", tmp_path / "data", "--store", tmp_path / "store", "--steps", 1]
    line += ["--processes", 1, "--widths", *THIN, "--without", "synthetic", "--backbone", converted]
    learnt = read_vit(converted).state_dict()
    like = {}
    for name, more in {"begun": [], "fresh": ["--fresh"]}.items():
        places = ["--out", tmp_path / name, "--work", tmp_path / f"work-{name}"]
        monkeypatch.setattr(sys, "argv", [str(part) for part in [*line, *places, *more]])
        main()
        state = torch.load(tmp_path / f"work-{name}" / CHECKPOINT, weights_only=True)["average"]
        kernel = state["backbone.blocks.0.mlp.w1.weight"]
        like[name] = torch.allclose(kernel, learnt["blocks.0.mlp.w1.weight"], atol=0.02)
    assert like == {"begun": True, "fresh": False}


def test_fresh_without_a_backbone_is_told_before_anything_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["training", "--data", tmp_path / "none", "--out", tmp_path / "out", "--work", tmp_path / "work"]
    monkeypatch.setattr(sys, "argv", [str(part) for part in [*line, "--fresh"]])
    with pytest.raises(SystemExit):
        main()
    assert "give that, too" in capsys.readouterr().err and not (tmp_path / "work").exists()


@pytest.mark.parametrize(
    ("layers", "after"),
    [(1, (0, 0, 0)), (2, (0, 0, 1)), (6, (1, 3, 5)), (12, (3, 7, 11)), (24, (7, 15, 23))],
)
def test_the_network_sees_each_third_of_the_blocks(layers: int, after: tuple[int, int, int]) -> None:
    sizes = prompted_sizes(SpadVitSizes(3, 24, 20, layers, 2), THIN)
    assert (sizes.after, sizes.backbone.channels) == (after, 3)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), "not the file that backbone.json tells of"),
        (lambda folder: (folder / WEIGHTS).write_bytes(b"junk"), "lost, cut short or changed"),
        (lambda folder: (folder / ABOUT).write_text("{"), "convert the backbone again"),
        (lambda folder: (folder / ABOUT).write_text("[]"), "does not tell of backbone.safetensors"),
        (lambda folder: (folder / ABOUT).unlink(), "holds no encoder.pt; give the folder"),
    ],
)
def test_a_folder_that_is_damaged_is_told(
    spoil: object, message: str, converted: Path, tmp_path: Path
) -> None:
    for path in converted.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    spoil(tmp_path)
    with pytest.raises(BackboneError, match=message):
        read_vit(tmp_path)


def test_the_command_tells_what_is_wrong_with_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    line = ["training", "--data", tmp_path, "--out", tmp_path, "--work", tmp_path / "w", "--steps", 1]
    monkeypatch.setattr(sys, "argv", [str(part) for part in [*line, "--backbone", tmp_path / "none"]])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "holds no encoder.pt" in capsys.readouterr().err
