"""Labels made as the published code makes them: cases that a hand can compute, and through the engine."""

import json

import numpy as np
import pytest

from tests.inference.fake_models import made_image, make_profile, make_prompt
from tests.inference.families.published.made import (
    CUBE,
    LESION,
    LIVER,
    SHAPE,
    SPLEEN,
    Asked,
    plan,
    published,
    run,
)
from tests.inference.families.published.recorded import PROFILE
from vesal.inference.families.published.case_decisions import PublishedRules, decide
from vesal.inference.families.published.labels import ForegroundMask, PublishedLabels, UnsplitLabels
from vesal.inference.families.published.naming import Names
from vesal.inference.families.published.rules import read_rules
from vesal.inference.geometry.views import Sampling, View, whole
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages.label_map import LabelMap

MEDAL_S = PublishedLabels()
SAT = PublishedLabels(corners=True, sums=True)


def line_view(n: int, native: int, corners: bool = False) -> View:
    """A view of n voxels in a line, sampled from ``native`` ones of a volume."""
    sampling = Sampling((1, 1, n), (1, 1, native), None, corners)
    start, step = 0.0, native / n
    if corners:
        step = (native - 1) / (n - 1)
        start = (1 - step) / 2
    return View((0.0, 0.0, start), (1.0, 1.0, step), (1, 1, n), 0, 0, sampling=sampling)


def in_line(maker: PublishedLabels, classes: dict[int, list[float]], native: int):
    """Labels and probability of ``native`` voxels in a line, from those of each class on a view."""
    given = [(id_, np.array([[values]], np.float32)) for id_, values in classes.items()]
    view = line_view(given[0][1].size, native, maker is SAT)
    found = maker.native_labels(given, view, 0.5)
    assert found.corner == (0, 0, 0)
    return found.labels[0, 0].tolist(), found.probability[0, 0]


def test_two_classes_that_touch_leave_no_gap():
    """Halfway between them each mask has 500 of 1000: the first label has the voxel."""
    assert in_line(MEDAL_S, {1: [0.9, 0.1], 2: [0.1, 0.9]}, 3)[0] == [1, 1, 2]


def test_a_lone_voxel_just_above_the_threshold_keeps_its_size():
    """Its mask is interpolated, not its probability of .55 among .3: 0, 250, 750, 750, 250, 0."""
    assert in_line(MEDAL_S, {4: [0.3, 0.55, 0.3]}, 6)[0] == [0, 0, 4, 4, 0, 0]


def test_a_voxel_is_decided_in_single_precision():
    """In half precision .5002 is .5, which is no foreground, and .7001 and .7 are equal."""
    assert in_line(MEDAL_S, {1: [0.5002, 0.7], 2: [0.1, 0.7001]}, 2)[0] == [1, 2]


def test_the_probability_is_the_interpolated_maximum_over_classes():
    """.9 and .8, so .85 between them; each class alone has half of its own there, .45 and .4."""
    _, probability = in_line(MEDAL_S, {1: [0.9, 0.0], 2: [0.0, 0.8]}, 3)
    assert probability == pytest.approx([0.9, 0.85, 0.8])


def test_sat_moves_labels_by_nearest_neighbour_with_the_corners_in_place():
    """Voxels 0, .75, 1.5, 2.25, 3 of the view: the third is rounded up."""
    assert in_line(SAT, {1: [0.9, 0, 0, 0], 2: [0, 0.9, 0, 0], 7: [0, 0, 0.9, 0]}, 5)[0] == [1, 2, 7, 7, 0]


def test_sat_adds_up_the_ids_of_overlapping_classes():
    assert in_line(SAT, {1: [0.9, 0.6, 0.2], 2: [0.1, 0.9, 0.8]}, 3)[0] == [1, 3, 2]


def test_sums_that_are_larger_than_any_id_fit_into_the_map():
    given = [(id_, np.full((1, 1, 3), 0.9, np.float32)) for id_ in (100, 200)]
    result = LabelMap((1, 1, 3), 200)
    assert result.labels.dtype == np.uint8
    result.put(SAT.native_labels(given, line_view(3, 3, True), 0.5))
    assert result.labels.tolist() == [[[300] * 3]]
    result.clear()
    assert not result.labels.any() and not result.probability.any()


def test_labels_of_a_region_go_to_their_place():
    sampling = Sampling((1, 4, 3), (1, 2, 3), None)
    view = View((2.0, 1.0, 0.0), (1.0, 0.5, 1.0), (1, 4, 3), 0, 0, sampling=sampling)
    result = LabelMap((4, 4, 3), 5)
    result.put(MEDAL_S.native_labels([(5, np.full((1, 4, 3), 0.75, np.float32))], view, 0.5))
    wanted = np.zeros((4, 4, 3), np.uint8)
    wanted[2, 1:3] = 5
    assert np.array_equal(result.labels, wanted) and result.box(5) == (slice(2, 3), slice(1, 3), slice(0, 3))
    assert np.array_equal(result.probability, np.where(wanted, np.float32(0.75), 0))


def test_objects_are_one_mask_without_specks_or_stay_as_they_are():
    labels = np.zeros((3, 8, 8), np.uint8)
    labels[:, :2, :2], labels[:, 2, :2], labels[0, 6, 6] = 3, 4, 3
    assert np.array_equal(ForegroundMask(min_voxels=10).split(labels), (labels > 0) & (np.arange(8) < 6))
    assert UnsplitLabels().split(labels) is labels


def test_the_switch_makes_the_published_objects_and_the_default_separate_ones():
    image = made_image(SHAPE, (CUBE, 240), ((slice(10, 26), slice(56, 66), slice(50, 66)), 240))
    for switch, values in ((True, [0, 1]), (False, [0, 1, 2])):
        labels = run(Asked(), [LESION], image, instance=True, rules=published(switch=switch)).labels
        assert np.unique(labels).tolist() == values


def test_published_runs_black_windows_as_well():
    image = made_image((40, 72, 160), (CUBE, 200), background=0)
    for switch in (False, True):
        stages = run(Asked(), [LIVER, SPLEEN], image, rules=published(switch=switch)).stages
        assert any(stage.skipped for stage in stages) != switch


def test_published_reads_the_modality_as_the_published_code_does():
    """Any `pelvic` is an MRI to it."""
    prompt = make_prompt(1, "liver", text="Liver in pelvic CT")
    targets = [("liver", None, m) for m in ("CT", "MR")]
    for switch, modality in ((False, "CT"), (True, "MR")):
        (batch,) = plan([prompt], published(switch=switch), make_profile(targets=targets)).batches
        assert [query.modality for query in batch.queries] == [modality]


def test_sat_as_published_through_the_engine():
    """Both find a brightness of 140: 1 and 2 give 3, also where objects are wanted."""
    content = json.loads((PROFILE.parents[1] / "sat" / "profile" / "profile.json").read_text())["rules"]
    grid = {"crop": [32, 32, 32], "target_mm": [2.0, 1.5, 1.5]}
    used = PublishedRules(read_rules(content | {"coarse": grid, "fine": grid}), Names({}, {}), published=True)
    prompts = [make_prompt(1, "kidney", text="a"), make_prompt(2, "spleen", text="b")]
    fake = make_profile(
        coarse=StageRule(32**3, skip=True), targets=[("kidney", None, "CT"), ("spleen", None, "CT")]
    )
    image = made_image(SHAPE, (CUBE, 140))
    for instance in (False, True):
        labels = run(Asked(sure=1.2), prompts, image, instance, rules=used, used=fake).labels
        assert set(np.unique(labels)) == {0, 3}


def test_sat_as_published_takes_the_modality_from_the_files_name():
    """And with it whether the volume is resampled: sentences that say MR are run as CT."""
    content = json.loads((PROFILE.parents[1] / "sat" / "profile" / "profile.json").read_text())["rules"]
    asked = {1: ("liver in MR", "liver", "MR")}
    for switch, name, modality in ((True, "CT_1", "CT"), (True, "made", "MR"), (False, "CT_1", "MR")):
        rules = PublishedRules(read_rules(content), Names({}, {}), switch)
        case = decide(asked, (20, 80, 80), (2.0, 1.0, 1.0), False, rules, name).case
        assert case.modality == modality
        assert (case.view(whole(case.shape), "fine").sampling.grid[0] == 20) == (modality == "MR")
