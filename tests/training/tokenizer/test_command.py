"""``python -m vesal.training.tokenizer`` as a whole, on two made sets and with a small network."""

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import write_volume  # noqa: E402
from vesal.networks.spad_vt import VtSizes  # noqa: E402
from vesal.training.measure.results import read_json  # noqa: E402
from vesal.training.tokenizer import __main__ as command  # noqa: E402
from vesal.training.tokenizer.crops import Batch  # noqa: E402
from vesal.training.tokenizer.learn import TokenizerPlan, TokenizerTrainer, load_tokenizer  # noqa: E402

HEART = {"1": "Left ventricle in cardiac MR", "3": "Right ventricle in cardiac MR", "instance_label": 0}
WIDTHS = (8, 8, 16)
SMALL = VtSizes(widths=WIDTHS, codebook=8, embedding=8)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of thin slices and one of thick ones, each with a held-out case."""
    folder = tmp_path_factory.mktemp("data")
    for split in ("train", "val"):
        write_volume(folder / split / f"CT_HeadNeck/CT_HeadNeck_{split}.npz")
        write_volume(folder / split / f"MR_Heart_ACDC/MR_Heart_ACDC_{split}.npz", HEART, (1.0, 1.0, 9.0))
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    """The command."""
    monkeypatch.setattr(sys, "argv", ["tokenizer", *map(str, arguments)])
    command.main()


def test_a_run_reports_goes_on_and_fills_the_page(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out"
    given = ["--data", data, "--output", output, "--threads", 1, "--widths", *WIDTHS, "--codebook", 8]
    run(monkeypatch, *given, "--steps", 2)
    first = read_json(output / "report.json")
    assert first["steps"] == 2
    assert {(s["dataset"], s["degree"]) for s in first["seen"]} >= {("CT_HeadNeck", 0), ("MR_Heart_ACDC", 3)}
    assert all((output / name).stat().st_size for name in ("psnr.png", "reconstructions.png", "report.md"))
    run(monkeypatch, *given, "--steps", 3)
    assert read_json(output / "report.json")["steps"] == 3
    assert load_tokenizer(output).sizes.widths == WIDTHS
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- table: tokenizer -->\nold\n<!-- end: tokenizer -->\nafter\n")
    monkeypatch.setattr(command, "MEASURED", tmp_path / "measured")
    capsys.readouterr()
    run(monkeypatch, "--report", output, "--docs", page)
    table = capsys.readouterr().out.strip()
    text = page.read_text()
    assert table.startswith("| set |") and table in text
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert (tmp_path / "measured/psnr.png").exists() and "spad-vt/psnr.png" in text


def test_hours_that_leave_no_time_to_learn_are_refused(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, "--data", data, "--output", tmp_path / "out", "--hours", 1e-3)
    assert "the report needs" in capsys.readouterr().err


def test_a_checkpoint_of_other_sizes_is_refused(tmp_path: Path) -> None:
    TokenizerTrainer(TokenizerPlan(steps=1, sizes=SMALL), tmp_path).save()
    with pytest.raises(ValueError, match="another --output"):
        TokenizerTrainer(TokenizerPlan(steps=1), tmp_path)


def test_what_is_seen_again_and_again_is_learnt(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    trainer = TokenizerTrainer(TokenizerPlan(steps=60, sizes=SMALL, warmup_steps=5, rate=5e-3), tmp_path)
    image = torch.full((2, 1, 1, 32, 32), -0.8)
    image[..., 16:] = 0.7
    losses = [trainer.one_step(Batch(image, 5))["loss"] for _ in range(60)]
    assert losses[-1] < 0.1 * losses[0]


def test_the_adversary_takes_part_from_its_share_on(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    plan = TokenizerPlan(steps=4, sizes=SMALL, adversary_from=0.5)
    trainer = TokenizerTrainer(plan, tmp_path)
    before = [p.clone() for p in trainer.adversary.parameters()]
    batch = Batch(torch.rand(2, 1, 4, 32, 32) * 2 - 1, 2)
    told = [trainer.one_step(batch) for _ in range(2)]
    assert not any("loss adversary" in each for each in told)
    assert all((a == b).all() for a, b in zip(before, trainer.adversary.parameters(), strict=True))
    assert "loss adversary" in trainer.one_step(batch)
    assert any((a != b).any() for a, b in zip(before, trainer.adversary.parameters(), strict=True))
