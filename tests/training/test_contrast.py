"""Random contrasts: what changes, and what must not."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from torch import Tensor  # noqa: E402

from tests.training.made import made_volume, rule  # noqa: E402
from vesal.inference.geometry.views import View  # noqa: E402
from vesal.training import contrast  # noqa: E402
from vesal.training.contrast import moved_statistics, randomised  # noqa: E402
from vesal.training.views import build  # noqa: E402


def changed(image: np.ndarray, labels: Tensor, rng: np.random.Generator, **more: int) -> np.ndarray:
    """A view with another contrast."""
    return randomised(torch.from_numpy(image), labels, 1.0, rng, **more).numpy()


def heart() -> tuple[np.ndarray, Tensor]:
    """Two structures of different grey on a grey ground, with padding of zeros; labels 0, 1, 2."""
    rng = np.random.default_rng(0)
    labels = np.zeros((6, 24, 28), np.float32)
    labels[1:5, 6:18, 6:20] = 1
    labels[1:5, 9:15, 9:16] = 2
    image = np.choose(labels.astype(int), [60, 110, 200]) + rng.normal(0, 8, labels.shape)
    image = image.clip(1, 255).astype(np.float32)
    image[:, :2] = 0
    return image, torch.from_numpy(labels)


def test_the_same_seed_gives_the_same_view_and_others_give_others() -> None:
    image, labels = heart()
    made = [changed(image, labels, np.random.default_rng(s)) for s in (1, 1, 2)]
    assert np.array_equal(made[0], made[1]) and not np.array_equal(made[0], made[2])


def test_range_and_padding_stay_and_no_view_is_left_empty() -> None:
    image, labels = heart()
    for seed in range(40):
        made = changed(image, labels, np.random.default_rng(seed))
        assert made.dtype == np.float32 and made.min() >= 0 and made.max() <= 255
        assert (made[image == 0] == 0).all()
        assert made[image > 0].std() > 5


def test_no_share_draws_nothing() -> None:
    image, labels = heart()
    rng, other = np.random.default_rng(3), np.random.default_rng(3)
    given = torch.from_numpy(image)
    assert randomised(given, labels, 0.0, rng) is given
    assert rng.random() == other.random()


def test_the_order_of_two_structures_changes_in_some_views_and_stays_in_others() -> None:
    """As blood and muscle do between cine and late enhancement."""
    image, labels = heart()
    inner, outer = (labels == 2).numpy(), (labels == 1).numpy()
    brighter = [
        made[inner].mean() > made[outer].mean()
        for made in (changed(image, labels, np.random.default_rng(s)) for s in range(60))
    ]
    assert 0.1 < np.mean(brighter) < 0.9


def test_labels_part_what_looked_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CURVE", "BIAS", "COARSE", "GHOSTS", "NOISE"):
        monkeypatch.setattr(contrast, name, 0.0)
    monkeypatch.setattr(contrast, "TISSUES", 1.0)
    _, labels = heart()
    image = np.random.default_rng(0).normal(120, 10, labels.shape).astype(np.float32)
    made = changed(image, labels, np.random.default_rng(5))
    means = [made[(labels == n).numpy()].mean() for n in (0, 1, 2)]
    assert min(abs(a - b) for a, b in zip(means, means[1:], strict=False)) > 10


def test_ghosts_lie_in_the_plane(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CURVE", "TISSUES", "BIAS", "COARSE", "NOISE"):
        monkeypatch.setattr(contrast, name, 0.0)
    monkeypatch.setattr(contrast, "GHOSTS", 1.0)
    image, labels = np.full((6, 24, 28), 20, np.float32), torch.zeros(6, 24, 28)
    image[3, 4:8, 4:8] = 250
    made = changed(image, labels, np.random.default_rng(0), thick=0)
    others = np.delete(made, 3, 0)
    assert np.ptp(others) < 1e-2 and np.ptp(made[3][12:, 12:]) < np.ptp(made[3])
    ghosts = np.abs(made[3] - made[3].min())
    ghosts[4:8, 4:8] = 0
    assert ghosts.max() > 3


def test_the_volumes_statistics_go_along() -> None:
    before = np.random.default_rng(0).normal(100, 20, (4, 8, 8)).astype(np.float32)
    mean, std = moved_statistics((90.0, 30.0), *map(torch.from_numpy, (before, 2 * before + 5)))
    assert (mean, std) == pytest.approx((185, 60), rel=1e-3)


def test_a_sets_rule_decides_and_plain_views_keep_their_contrast(tmp_path: Path) -> None:
    volume = made_volume(tmp_path)
    view = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (16, 32, 32), 0, 0)

    def shown(share: float, seed: int | None) -> np.ndarray:
        rng = None if seed is None else np.random.default_rng(seed)
        item = build(volume, view, "coarse", volume.targets, None, replace(rule(), contrast=share), rng)
        return item.image[0, 0].numpy()

    assert np.array_equal(shown(1.0, None), shown(0.0, None))
    different = [np.abs(shown(1.0, seed) - shown(0.0, seed)).mean() > 0.05 for seed in range(6)]
    assert sum(different) >= 4
