"""Thicker slices, volumes made isotropic, and the table of both."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs

pytest.importorskip("torch", reason="the made volumes import the network's module")

from tests.inference.fake_models import make_model  # noqa: E402
from tests.training.made import LIVER, SHAPE, write_volume  # noqa: E402
from vesal.inference.planning.manifest import CoveredTarget  # noqa: E402
from vesal.training.measure.runs import Labelled, read_labelled  # noqa: E402
from vesal.training.measure.thickness import (  # noqa: E402
    ADAPTS,
    ISOTROPIC,
    RUN,
    Score,
    draw,
    isotropic,
    of_any_thickness,
    score,
    table,
    thickened,
)


@pytest.fixture
def made(tmp_path: Path) -> Labelled:
    """The volume with liver and spleen; slices of 2 mm."""
    return read_labelled(write_volume(tmp_path / "CT_Made/CT_Made_1.npz", spacing_xyz=(1.0, 1.0, 2.0)))


def test_a_thick_slice_is_the_mean_of_its_slices_with_the_labels_of_the_middle(made: Labelled) -> None:
    ramp = np.broadcast_to(np.arange(SHAPE[0], dtype=np.uint8)[:, None, None] * 10, SHAPE).copy()
    thick = thickened(replace(made, case=replace(made.case, image=ramp)), 4)
    assert thick.case.image[:, 0, 0].tolist() == [20, 60, 100, 122]  # 0 and 40 half; 110 half, 120, 130
    assert thick.case.spacing_dhw_mm == (8.0, 1.0, 1.0)
    assert [int(t.max()) for t in thick.truth] == [0, 1, 3, 0]  # of slices 2, 6, 10 and 13


@pytest.mark.parametrize(
    ("spacing_xyz", "thick"), [((4.0, 4.0, 2.5), 0), ((1.0, 5.0, 1.0), 1), ((1.0, 1.0, 1.0), 0)]
)
def test_slices_are_those_of_the_thick_axis_or_of_d(tmp_path: Path, spacing_xyz: tuple, thick: int) -> None:
    case = read_labelled(write_volume(tmp_path / "CT_Made/CT_Made_1.npz", spacing_xyz=spacing_xyz))
    before, after = case.case.spacing_dhw_mm, thickened(case, 2).case.spacing_dhw_mm
    assert [b / a for a, b in zip(before, after, strict=True)] == [
        2.0 if a == thick else 1.0 for a in range(3)
    ]


def test_once_as_thick_is_as_it_is(made: Labelled) -> None:
    same = thickened(made, 1)
    assert np.array_equal(same.case.image, made.case.image) and np.array_equal(same.truth, made.truth)
    assert same.case.spacing_dhw_mm == made.case.spacing_dhw_mm


def test_isotropic_voxels_are_as_long_as_the_shortest_edge(made: Labelled) -> None:
    seen = isotropic(made)
    assert seen.case.spacing_dhw_mm == (1.0, 1.0, 1.0) and seen.truth.shape == (28, 24, 20)
    assert (seen.truth[6:18] == 1).sum() == 2 * np.prod([s.stop - s.start for s in LIVER])


@pytest.mark.parametrize("way", [RUN, ADAPTS, ISOTROPIC])
def test_every_way_is_scored_on_the_thick_grid(made: Labelled, way: str) -> None:
    thick = thickened(made, 2)
    found = {s.target: s for s in score(make_model(), thick, 2, way)}
    assert set(found) == {"liver", "spleen"} and found["liver"].dice >= 0.75
    assert found["liver"].seconds > 0 and found["liver"].times == 2


def test_kernels_that_follow_the_spacing_see_slices_as_they_are() -> None:
    model = make_model()
    profile = model.profile
    limited = model.with_profile(
        targets=tuple(structs.replace(t, thickest_slice_mm=2.0) for t in profile.targets),
        not_covered=(CoveredTarget("rib", None, "CT", thickest_slice_mm=3.0),),
    )
    free = of_any_thickness(limited).profile
    assert free.targets == profile.targets and free.not_covered == (CoveredTarget("rib", None, "CT"),)


def test_the_table_has_a_line_for_each_way_and_set_and_the_picture_is_drawn(tmp_path: Path) -> None:
    scores = [
        Score(dataset, "c", "t", times, way, value, 2.0 * times)
        for dataset, value in (("A", 0.25), ("B", 0.75))
        for times in (1, 2)
        for way in (ADAPTS, ISOTROPIC)
    ]
    lines = table(scores).splitlines()
    assert lines[2] == f"| {ADAPTS} | A | 0.250 | 0.250 |"
    assert lines[4] == f"| **{ADAPTS}** | **mean of sets** | 0.500 | 0.500 |"
    assert lines[5] == f"| {ADAPTS} | seconds a case | 2.000 | 4.000 |"
    draw(scores, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes()[1:4] == b"PNG"
