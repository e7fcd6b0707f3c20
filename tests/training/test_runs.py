"""Components by runs of voxels are those of cc3d."""

import cc3d
import numpy as np
import pytest

from vesal.inference.geometry.region import main_extent
from vesal.training import runs
from vesal.training.runs import components, extent_by_runs, extent_finder


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.7])
@pytest.mark.parametrize("shape", [(1, 1, 9), (1, 12, 7), (9, 1, 5), (10, 12, 14)])
def test_components_are_those_of_cc3d(shape: tuple[int, int, int], share: float) -> None:
    for seed in range(8):
        mask = np.random.default_rng(seed).random(shape) < share
        if not mask.any():
            continue
        found = cc3d.statistics(cc3d.connected_components(np.pad(mask, 1), connectivity=26))
        counts = found["voxel_counts"][1:]
        boxes = [[(s.start - 1, s.stop - 1) for s in box] for box in found["bounding_boxes"][1:]]
        wanted = sorted((int(n), box) for n, box in zip(counts, boxes, strict=True))
        given = zip(*(part.tolist() for part in components(mask)), strict=True)
        assert sorted((n, list(zip(a, b, strict=True))) for n, a, b in given) == wanted
        for least in (0.0, 0.1, 0.5):
            for one, other in zip(extent_by_runs(mask, least), main_extent(mask, least), strict=True):
                assert one.tolist() == other.tolist()


def test_it_is_taken_where_a_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extent_finder() is main_extent
    find = runs.importlib.util.find_spec
    monkeypatch.setattr(runs.importlib.util, "find_spec", lambda name: None if name == "cc3d" else find(name))
    assert extent_finder() is extent_by_runs
