"""Cases changed as other scanners and archives change them."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the made volumes import the network's module")

from tests.inference.fake_models import make_model  # noqa: E402
from tests.training.made import write_volume  # noqa: E402
from vesal.training.measure import robustness  # noqa: E402
from vesal.training.measure.robustness import (  # noqa: E402
    AS_IT_IS,
    HALF,
    NOISY,
    TURNED,
    WAYS,
    changes,
    halved,
    noisy,
    stored_as,
    table,
)
from vesal.training.measure.runs import Labelled, read_labelled  # noqa: E402
from vesal.training.scores import score_case  # noqa: E402


@pytest.fixture
def made(tmp_path: Path) -> Labelled:
    """The volume with liver and spleen; slices of 2 mm."""
    return read_labelled(write_volume(tmp_path / "CT_Made/CT_Made_1.npz", spacing_xyz=(1.0, 1.5, 2.0)))


def test_there_are_48_ways_and_labels_spacing_and_image_go_together(made: Labelled) -> None:
    assert len(set(WAYS)) == 48 and WAYS[0].is_stored
    for way in WAYS:
        turned = stored_as(made, way)
        assert turned.truth.shape == turned.case.image.shape
        volumes = [np.prod(c.spacing_dhw_mm) for c in (turned.case, made.case)]
        assert volumes[0] == pytest.approx(volumes[1])
        assert turned.case.spacing_dhw_mm == way.axes(made.case.spacing_dhw_mm)
        for label in np.unique(made.truth):
            of = [np.sort(each.case.image[each.truth == label]) for each in (turned, made)]
            assert np.array_equal(*of)


def test_the_next_case_gets_other_ways_until_all_were_run(made: Labelled) -> None:
    shown = set()
    for number in range(16):
        for change, changed in changes(made, number, 3):
            if change == TURNED:
                shown.add((changed.case.spacing_dhw_mm, changed.case.image[:2, :2].tobytes()))
    every = {
        (stored_as(made, way).case.spacing_dhw_mm, stored_as(made, way).case.image[:2, :2].tobytes())
        for way in WAYS[1:]
    }
    assert shown == every


def test_noise_is_the_same_again_and_leaves_what_is_outside(made: Labelled) -> None:
    first, again = noisy(made).case.image, noisy(made).case.image
    assert np.array_equal(first, again) and not np.array_equal(first, made.case.image)
    assert np.array_equal(first == 0, made.case.image == 0)


def test_half_a_field_of_view_is_the_half_with_more_labels(made: Labelled) -> None:
    half = halved(made)
    assert half.truth.shape == half.case.image.shape and half.truth.size * 2 == made.truth.size
    assert 2 * np.count_nonzero(half.truth) >= np.count_nonzero(made.truth)


def test_every_change_has_a_column(made: Labelled) -> None:
    model = make_model()
    seen = [
        robustness.Seen(change, row)
        for change, changed in changes(made, 0, 1)
        for row in score_case(model, changed)[0]
    ]
    lines = table(seen).splitlines()
    for name in (AS_IT_IS, TURNED, "slices x2", "slices x4", NOISY, HALF):
        assert f" {name} " in lines[0]
    assert lines[2].startswith("| CT_Made | 1 |") and lines[3].startswith("| **mean of sets** |")
