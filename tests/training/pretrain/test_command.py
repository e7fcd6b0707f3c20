"""``python -m vesal.training.pretrain`` as a whole on made volumes, and training that begins from it."""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import THIN, write_volume  # noqa: E402
from tests.training.trainers import same, trainer  # noqa: E402
from vesal.networks.spad_vt import SpadVt, VtSizes  # noqa: E402
from vesal.training.backbone import BackboneError, begin_from  # noqa: E402
from vesal.training.pretrain.__main__ import main  # noqa: E402
from vesal.training.pretrain.learn import ABOUT, CHECKPOINT, ENCODER  # noqa: E402
from vesal.training.tokenizer.learn import TOKENIZER  # noqa: E402

UNNAMED = {"1": "Something of no name", "3": "Nor this", "instance_label": 0}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thin and thick slices; one volume without a known target, one of a patient who is looked at."""
    folder = tmp_path_factory.mktemp("data")
    write_volume(folder / "train/CT_HeadNeck/CT_HeadNeck_1.npz", UNNAMED)
    write_volume(folder / "train/MR_Heart_ACDC/MR_Heart_ACDC_1.npz", spacing_xyz=(1.0, 1.0, 9.0))
    write_volume(folder / "train/MR_HeartLGE/MR_HeartLGE_1.npz")
    for split in ("train", "val"):
        write_volume(folder / split / "CT_Sarcoma/CT_Sarcoma_STS-001.npz")
    return folder


def run(monkeypatch: pytest.MonkeyPatch, data: Path, out: Path, *more: object) -> None:
    """The command in this process."""
    line = ["pretrain", "--data", data, "--out", out, "--processes", 1, "--widths", *THIN, *more]
    monkeypatch.setattr(sys, "argv", [str(part) for part in line])
    threads = torch.get_num_threads()
    main()
    torch.set_num_threads(threads)


def test_an_encoder_is_learnt_from_all_volumes_and_taken_over(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, halted = tmp_path / "whole", tmp_path / "halted"
    run(monkeypatch, data, whole, "--steps", 4)
    about = json.loads((whole / ABOUT).read_text())
    # Without a target, and with weight 0 in training, but not of a patient who is looked at.
    assert about["sets"] == ["CT_HeadNeck", "MR_HeartLGE", "MR_Heart_ACDC"] and about["steps"] == 4
    assert (whole / "curves.png").stat().st_size > 1000

    begun = trainer(tmp_path / "run")
    before = {name: value.clone() for name, value in begun.model.state_dict().items()}
    begin_from(begun, whole)
    after, encoder = begun.model.state_dict(), torch.load(whole / ENCODER, weights_only=True)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert {"stem.weight", "down.0.conv1.weight", "down.3.conv2.weight"} <= changed <= set(encoder)
    assert same(begun.average, after)

    run(monkeypatch, data, halted, "--steps", 2)
    assert torch.load(halted / CHECKPOINT, weights_only=True)["step"] == 2
    run(monkeypatch, data, halted, "--steps", 4)
    assert json.loads((halted / ABOUT).read_text())["steps"] == 4


def test_tokens_of_a_tokenizer_are_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = VtSizes(widths=(16, 16, 16), embedding=4, codebook=8)
    state = {"sizes": asdict(sizes), "state_dict": SpadVt(sizes).state_dict()}
    torch.save(state, tmp_path / TOKENIZER)
    run(monkeypatch, data, tmp_path / "out", "--steps", 2, "--tokenizer", tmp_path)
    assert json.loads((tmp_path / "out" / ABOUT).read_text())["target"] == "tokens"
    told = torch.load(tmp_path / "out" / CHECKPOINT, weights_only=True)["model"]["head.2.weight"]
    assert len(told) == sizes.codebook
    for content, message in ((b"junk", "is no file of a tokenizer"), (None, "holds no tokenizer.pt")):
        (tmp_path / TOKENIZER).unlink()
        if content:
            (tmp_path / TOKENIZER).write_bytes(content)
        with pytest.raises(SystemExit):
            run(monkeypatch, data, tmp_path / "none", "--steps", 1, "--tokenizer", tmp_path)
        assert message in capsys.readouterr().err


def test_an_encoder_of_other_widths_is_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, data, tmp_path / "out", "--steps", 1)
    with pytest.raises(BackboneError, match="give the --widths that the encoder"):
        begin_from(trainer(tmp_path / "run", widths=(16, 16, 16, 16)), tmp_path / "out")


@pytest.mark.parametrize(
    ("content", "message"), [(None, "holds no encoder.pt"), (b"junk", "is no file of an encoder")]
)
def test_what_is_no_encoder_is_named(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content:
        (tmp_path / ENCODER).write_bytes(content)
    with pytest.raises(BackboneError, match=message):
        begin_from(trainer(tmp_path / "run"), tmp_path)
