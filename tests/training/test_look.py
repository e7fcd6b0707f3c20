"""The quick look at held-out volumes during training."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import THIN, made_bank, made_volume  # noqa: E402
from vesal.training import loop  # noqa: E402
from vesal.training.look import look_at  # noqa: E402
from vesal.training.loop import Trainer  # noqa: E402
from vesal.training.parallel import Group  # noqa: E402
from vesal.training.plan import Plan  # noqa: E402


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """A thin network that says yes everywhere, or no."""
    monkeypatch.setattr(loop, "processor_precision", lambda: torch.float32)
    plan = Plan(hours=1.0, widths=THIN, coarse_voxels=2 * 16**3, fine_voxels=2 * 16**3)
    return Trainer(plan, made_bank("liver", "spleen"), tmp_path, Group(0, 1, ""))


@pytest.mark.parametrize(("bias", "low", "high"), [(60.0, 0.001, 0.5), (-60.0, 0.0, 0.0)])
def test_it_scores_the_averaged_weights_and_leaves_the_others_as_they_are(
    trainer: Trainer, tmp_path: Path, bias: float, low: float, high: float
) -> None:
    trainer.average["to_bias.bias"].fill_(bias)
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    scores = look_at(trainer, [made_volume(tmp_path / "data")])
    assert set(scores) == {"val CT_Made coarse", "val CT_Made fine"}
    assert all(low <= v <= high for v in scores.values())
    assert trainer.model.training
    for name, value in trainer.model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
