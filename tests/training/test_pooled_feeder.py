"""Views that several threads prepare."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import made_volume, rule  # noqa: E402
from vesal.training import feeder as feeding  # noqa: E402
from vesal.training.feeder import Feeder  # noqa: E402
from vesal.training.pooled_feeder import PooledFeeder  # noqa: E402
from vesal.training.store import Volume  # noqa: E402
from vesal.training.views import Item, unposed  # noqa: E402

VOXELS = 2 * 16**3
RULES = {"CT_Made": rule(flips="any", turn_rad=0.3), "CT_Pelvis": rule(body=("pelvis",))}


@pytest.fixture
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Volume]:
    """Two sets."""
    monkeypatch.setattr(feeding.Anatomy, "read", classmethod(lambda cls: cls({}, {})))
    pelvis = {"1": "Prostate in CT", "3": "Urinary bladder in CT", "instance_label": 0}
    return [made_volume(tmp_path), made_volume(tmp_path, "CT_Pelvis", prompts=pelvis)]


def items(feeder: Feeder, as_tensor: bool) -> list[Item]:
    """Two steps of three pairs, coarse views first, as the training asks for them."""
    found = []
    for _ in range(2):
        for _ in range(3):
            item = feeder.coarse()
            result = unposed(item.truth[0], item)
            feeder.give_back(item, result if as_tensor else result.numpy())
            found.append(item)
        found += [feeder.fine() for _ in range(3)]
    feeder.close()
    return found


@pytest.mark.parametrize("loaders", [1, 4])
def test_views_are_those_of_one_thread_in_the_same_order(volumes: list[Volume], loaders: int) -> None:
    wanted = items(Feeder(volumes, RULES, VOXELS, VOXELS, 0, first=2), False)
    found = items(PooledFeeder(loaders, volumes, RULES, VOXELS, VOXELS, 0, first=2), True)
    for one, other in zip(wanted, found, strict=True):
        assert (one.view, one.stage, one.asked) == (other.view, other.stage, other.asked)
        assert all(torch.equal(getattr(one, n), getattr(other, n)) for n in ("image", "prompt", "truth"))


def test_what_fails_in_a_thread_is_raised_where_a_view_is_asked_for(
    volumes: list[Volume], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Item:
        raise ValueError("a broken volume")

    feeder = PooledFeeder(2, volumes, RULES, VOXELS, VOXELS, 0)
    item = feeder.coarse()
    monkeypatch.setattr(feeding, "fine_item", fails)
    feeder.give_back(item, np.zeros((len(item.targets), *item.view.shape), np.float32))
    with pytest.raises(RuntimeError, match="prepares views failed") as raised:
        feeder.fine()
    assert "a broken volume" in str(raised.value.__cause__)
    feeder.close()
