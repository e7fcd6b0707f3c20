"""Beginning from exported weights."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from networks.nano import Nano  # noqa: E402
from training.warm import read_weights, warm_start  # noqa: E402

SHIPPED = Path(__file__).parents[2] / "weights" / "nano"


def test_the_shipped_weights_fill_the_whole_network() -> None:
    model = Nano()
    before = model.down[0].conv1.weight.clone()
    assert warm_start(model, SHIPPED) == []
    assert not torch.equal(model.down[0].conv1.weight, before)
    found = read_weights(SHIPPED)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, found[name], rtol=0, atol=0)


def test_what_has_another_shape_begins_anew_and_is_named() -> None:
    names = warm_start(Nano((24, 48, 96, 64)), SHIPPED)
    assert "down.3.conv1.weight" in names and "down.0.conv1.weight" not in names


def test_a_foreign_network_is_refused() -> None:
    with pytest.raises(ValueError, match="no tensor of this network"):
        warm_start(torch.nn.Linear(2, 2), SHIPPED)
