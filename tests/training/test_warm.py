"""Beginning from exported weights."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from vesal.networks.nano import WIDTHS, Nano  # noqa: E402
from vesal.training import warm  # noqa: E402
from vesal.training.warm import read_weights, warm_start  # noqa: E402

SHIPPED = Path(__file__).parents[2] / "weights" / "nano"


def test_the_shipped_weights_fill_the_whole_network() -> None:
    model = Nano()
    before = model.down[0].conv1.weight.clone()
    assert warm_start(model, SHIPPED) == []
    assert not torch.equal(model.down[0].conv1.weight, before)
    found = read_weights(SHIPPED)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, found[name], rtol=0, atol=0)


def test_what_has_another_shape_begins_anew_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = read_weights(SHIPPED)
    other = found | {"text.weight": found["text.weight"][:, :-1]}
    monkeypatch.setattr(warm, "read_weights", lambda folder: other)
    model = Nano()
    before = model.text.weight.clone()
    assert warm_start(model, SHIPPED) == ["text.weight"]
    assert torch.equal(model.text.weight, before)


def test_the_shipped_weights_begin_a_wider_network_that_computes_the_same() -> None:
    a, b, c, d = WIDTHS
    narrow, wide = Nano().eval(), Nano((a + 8, b, c + 16, d + 8)).eval()
    assert warm_start(narrow, SHIPPED) == warm_start(wide, SHIPPED) == []
    g = torch.Generator().manual_seed(0)
    image, prompt = torch.randn(1, 2, 8, 32, 48, generator=g), torch.rand(1, 3, 8, 32, 48, generator=g)
    text, side = torch.randn(1, 3, 220, generator=g), torch.tensor([[0, 1, 2]])
    with torch.no_grad():
        first, other = (m(image, prompt, text, side, torch.ones_like(side), 2) for m in (narrow, wide))
    for one, two in zip(first, other, strict=True):
        assert one.abs().max() > 1
        torch.testing.assert_close(one, two, rtol=0, atol=1e-3)


def test_narrower_networks_are_refused() -> None:
    narrow = Nano((16, 48, 96, 64))
    with pytest.raises(ValueError, match=r"do not go into \(16, 48, 96, 64\); wanted none smaller"):
        warm_start(narrow, SHIPPED)


def test_a_narrower_network_that_lacks_a_tensor_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {name: value for name, value in read_weights(SHIPPED).items() if name != "text.weight"}
    monkeypatch.setattr(warm, "read_weights", lambda folder: found)
    with pytest.raises(ValueError, match="do not go into"):
        warm_start(Nano((40, 72, 136, 200)), SHIPPED)


def test_a_foreign_network_is_refused() -> None:
    with pytest.raises(ValueError, match="no tensor of this network"):
        warm_start(torch.nn.Linear(2, 2), SHIPPED)
