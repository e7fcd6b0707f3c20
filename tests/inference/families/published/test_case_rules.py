"""Rules in the engine: the same engine, and the stages, grids, calls and prompts that the rules say."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest

from tests.inference.fake_models import (
    dice,
    made_image,
    make_profile,
    make_prompt,
)
from tests.inference.families.published.made import (
    CUBE,
    FAR,
    LESION,
    LIVER,
    PROFILE_OF_FAKES,
    SHAPE,
    SPLEEN,
    Asked,
    plan,
    published,
    run,
)
from tests.inference.families.published.recorded import PROFILE, dhw, names, rows, rules
from vesal.inference.families.published.case_decisions import PublishedRules, decide
from vesal.inference.families.published.case_rules import CaseRules
from vesal.inference.families.published.naming import Names
from vesal.inference.families.published.rules import read_rules
from vesal.inference.families.published.spacing import stage_grid
from vesal.inference.geometry.resample import to_view
from vesal.inference.geometry.tilings import tiles, without_padding
from vesal.inference.geometry.views import Box, whole
from vesal.inference.planning.plan import AppliedRule
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages.label_map import LabelMap
from vesal.postprocess.components import Components
from vesal.postprocess.fill_holes import FillHoles
from vesal.postprocess.instances import Instances


def test_a_case_runs_on_the_grids_and_windows_of_the_rules():
    graph, image = Asked(), made_image(SHAPE, (CUBE, 200), (FAR, 120))
    result = run(graph, [LIVER, SPLEEN], image)
    assert dice(result.labels == 1, image == 200) > 0.95
    assert dice(result.labels == 4, image == 120) > 0.9
    used, classes = published().rules, ["CT_Liver", "CT_Spleen"]
    for report in result.stages:
        stage = report.stage
        grid = stage_grid(SHAPE, (1.0, 1.0, 1.0), classes, stage, used)
        padded = tuple(max(n, 32) for n in grid.shape)
        if stage == "coarse":
            assert report.grid == padded
        assert report.windows == len(tiles(report.grid, (32, 32, 32)))
    assert all(call["image"].shape[2:] == (32, 32, 32) for call in graph.calls)


def calls_per_window(prompt, image, instance):
    """(calls, windows) of each stage."""
    graph = Asked()
    result = run(graph, [prompt], image, instance)
    assert [report.stage for report in result.stages] == ["coarse", "fine"]
    windows = [len(tiles(report.grid, (32, 32, 32))) for report in result.stages]
    return len(graph.calls), windows, graph.prompted()


@pytest.mark.parametrize("instance", [False, True])
def test_calls_for_each_window_are_those_of_the_rules(instance):
    prompt = LESION if instance else LIVER
    image = made_image(SHAPE, (CUBE, 240 if instance else 200))
    calls, (coarse, fine), prompted = calls_per_window(prompt, image, instance)
    each = [3, 4] if instance else [1, 2]  # a refinement is two calls, as is a prompted first prediction
    assert calls == each[0] * coarse + each[1] * fine
    assert not any(prompted[:coarse])


def test_a_class_without_a_fine_stage_keeps_its_coarse_result():
    image = made_image(SHAPE, (CUBE, 200))
    used = published(stages={"skip_fine": ["CT_Liver"]})
    result = run(Asked(), [LIVER], image, rules=used)
    assert [report.name for report in result.stages] == ["coarse"]
    assert dice(result.labels == 1, image == 200) > 0.8


def test_a_class_without_a_coarse_stage_is_looked_for_everywhere_without_prompts():
    graph, image = Asked(), made_image(SHAPE, (CUBE, 200))
    result = run(graph, [LIVER], image, rules=published(stages={"skip_coarse": ["CT_Liver"]}))
    assert len(result.stages) == 1 and "no coarse stage" in result.stages[0].why
    assert not any(graph.prompted())
    assert dice(result.labels == 1, image == 200) > 0.95


def test_an_empty_coarse_result_sends_the_fine_stage_everywhere_without_prompts():
    graph = Asked()
    result = run(graph, [LIVER], made_image(SHAPE))
    assert "coarse result is empty" in result.stages[1].why
    assert not any(graph.prompted()) and not result.labels.any()


def test_specks_alone_are_an_empty_coarse_result():
    case = CaseRules(published().rules, SHAPE, (1.0, 1.0, 1.0), ("CT_Liver",), False)
    labels = np.zeros(SHAPE, np.uint8)
    labels[3, 3, 3:9] = 1
    assert case.region(labels * case.solid(labels))[:2] == (whole(SHAPE), False)
    assert replace(case, instance=True).solid(labels) is None
    assert case.region(labels)[1]


def test_what_no_rule_knows_is_run_without_rules_and_says_so():
    known = make_prompt(1, "liver", text="Something unheard of in CT")
    image = made_image(SHAPE, (CUBE, 200))
    result = run(Asked(), [known], image)
    assert dice(result.labels == 1, image == 200) > 0.95
    assert "liver is CT_Liver" in result.prompts[1].why
    stranger = make_prompt(2, None, text="Something unheard of in CT")
    result = run(Asked(), [known, stranger], image)
    assert result.prompts[2].covered is False and result.prompts[2].voxels == 0
    assert result.prompts[1].voxels > 0


def test_all_prompts_are_asked_in_the_modality_of_most():
    mr = [make_prompt(i, "liver", text="Liver in MRI", modality="MR") for i in (2, 3)]
    targets = [(t.concept, None, m) for t in PROFILE_OF_FAKES.targets for m in ("CT", "MR")]
    (batch,) = plan([LIVER, *mr], published(), make_profile(targets=targets)).batches
    assert [q.modality for q in batch.queries] == ["MR"] * 3


def test_components_are_chosen_for_the_classes_of_the_list():
    assert plan([LIVER, SPLEEN], published()).rules == (
        AppliedRule(Components(min_size_ratio=None), frozenset({4})),
        AppliedRule(Instances(min_voxels=10), frozenset({1, 4})),
    )
    chosen, _ = plan([LIVER, SPLEEN], published(paper=True)).rules
    assert chosen == AppliedRule(Components(min_size_ratio=0.6), frozenset({1, 4}))


def test_components_are_chosen_among_objects_too_where_the_rules_say_so():
    for instance in (False, True):
        chosen, _ = plan([LIVER, SPLEEN], published(components={"instance": instance})).rules
        assert chosen.rule == Components(min_size_ratio=None, instances=instance)


def test_rules_of_the_profile_come_before_the_published_ones():
    profile = make_profile(postprocess=(FillHoles(kinds=("organ",)),))
    first, *rest = plan([LIVER, SPLEEN], published(), profile).rules
    assert first == AppliedRule(FillHoles(kinds=("organ",)), frozenset({1, 4}))
    assert [type(applied.rule) for applied in rest] == [Components, Instances]


def test_the_paper_hands_probabilities_on_and_refines_semantic_cases():
    code, paper = (plan([LIVER], published(p)).batches[0].stages[1] for p in (False, True))
    assert (code.rounds, code.binary_prompts) == (1, True)
    assert (paper.rounds, paper.binary_prompts) == (2, False)


def test_without_time_for_all_of_it_the_view_gets_coarser():
    case = CaseRules(published().rules, SHAPE, (1.0, 1.0, 1.0), ("CT_Liver", "CT_Spleen"), False)
    full, eighth = (case.view(whole(SHAPE), "fine", share) for share in (1.0, 0.125))
    assert eighth.sampling.grid == tuple(round(n / 2) for n in full.sampling.grid)
    assert eighth.shape == (32, 32, 32)
    big = CaseRules(rules(), (300, 512, 512), (1.0, 0.8, 0.8), ("CT_Liver", "CT_Spleen"), False)
    most, small = (big.view(whole(big.shape), "coarse", share) for share in (1.0, 0.05))
    assert most.tiling.size(most, 1) == (128, 224, 224)
    assert small.tiling.size(small, 1) == small.shape == (64, 128, 128)
    assert eighth.sampling.source == full.sampling.source == SHAPE


def test_all_560_recorded_grids_are_the_views_of_the_engine(shared):
    for row in rows(shared, "read_npz_decisions"):
        stage = "coarse" if row["stage1"] else "fine"
        shape = tuple(row["shape_dhw"])
        case = CaseRules(rules(), shape, dhw(row["spacing_hwd"]), tuple(row["classes"]), False)
        view = case.view(whole(shape), stage)
        assert view.sampling.grid == dhw(row["new_shape"]), row
        assert view.shape == dhw(row["padded"]), row
        assert len(tiles(view.shape, view.tiling.size(view, 1))) == row["n_patches"], row


def test_all_recorded_regions_are_those_of_the_engine(shared):
    checked = 0
    for row in rows(shared, "main_decisions"):
        calls = [c for c in row["result"].get("calls", []) if "roi_zyx_inclusive" in c]
        if not calls:
            continue
        x, y, z = row["spacing"]  # as a file has it
        asked = {i: (text, None, "CT") for i, text in enumerate(row["texts"], 1)}
        instance = bool(row["instance_label"])
        decided = decide(asked, tuple(row["shape"]), (z, y, x), instance, PublishedRules(rules(), names()))
        labels = np.zeros(row["shape"], np.uint8)
        for z0, z1, y0, y1, x0, x1, label in row["lowres_boxes"]:
            labels[z0:z1, y0:y1, x0:x1] = label
        box, found, _ = decided.case.region(labels)
        bounds = [int(v) for a, b in zip(box.start, box.stop, strict=True) for v in (a, b - 1)]
        assert found and bounds == calls[0]["roi_zyx_inclusive"], row["name"]
        assert decided.case.spacing_mm == dhw(row["result"]["saved_spacing"]), row["name"]
        checked += 1
    assert checked == 60


def test_a_view_covers_whole_voxels_of_its_box():
    case = CaseRules(published().rules, SHAPE, (1.0, 1.0, 1.0), ("CT_Liver", "CT_Spleen"), False)
    view = case.view(Box((3.4, 5.0, 0.0), (20.2, 70.0, 72.0)), "fine")
    assert view.start == (3.0, 5.0, 0.0)
    assert view.sampling.source == (18, 65, 72)


def test_x_of_the_file_runs_along_h_as_in_the_code_or_along_w_as_in_the_paper():
    asked = {1: ("Liver in CT", "liver", "CT"), 2: ("Spleen in CT", "spleen", "CT")}
    shape, spacing = (40, 64, 64), (4.0, 2.0, 1.0)
    code, paper = (decide(asked, shape, spacing, False, published(p)).case for p in (False, True))
    assert code.spacing_mm == (4.0, 1.0, 2.0) and paper.spacing_mm == (4.0, 2.0, 1.0)


SAT = json.loads((PROFILE.parents[1] / "sat" / "profile" / "profile.json").read_text())


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_sat_respaces_ct_alone_corner_on_corner(shared, modality):
    known = np.load(shared / "fixtures" / "sat" / "respace.npz")
    for i in range(4):
        # The recording's (h,w,d) goes to (d,h,w): a spacing of 1 x 1 x 3 mm has its 3 mm first.
        volume, spacing = known[f"in{i}"].transpose(2, 0, 1), dhw([float(s) for s in known[f"sp{i}"]])
        case = CaseRules(read_rules(SAT["rules"]), volume.shape, spacing, (), False, modality)
        view = case.view(whole(volume.shape), "fine")
        wanted = known[f"out{i}"].transpose(2, 0, 1) if modality == "CT" else volume
        assert view.sampling.grid == wanted.shape
        assert view.shape == tuple(max(n, c) for n, c in zip(wanted.shape, (96, 288, 288), strict=True))
        seen = to_view(volume, view)
        inside = tuple(slice(0, n) for n in wanted.shape)
        assert np.abs(seen[inside] - wanted).max() < 5e-4
        assert np.count_nonzero(seen) == np.count_nonzero(seen[inside])


def test_sat_runs_in_one_stage_without_prompts():
    content = copy.deepcopy(SAT["rules"])
    content["fine"]["crop"] = content["coarse"]["crop"] = [32, 32, 32]
    fake = make_profile(
        coarse=StageRule(32**3, skip=True), targets=[("liver", None, "CT"), ("spleen", None, "CT")]
    )
    rules = PublishedRules(read_rules(content), Names({}, {}))
    graph, image = Asked(), made_image(SHAPE, (CUBE, 200), (FAR, 120))
    result = run(graph, [LIVER, SPLEEN], image, rules=rules, used=fake)
    assert [report.stage for report in result.stages] == ["fine"]
    assert not any(graph.prompted())
    assert result.stages[0].windows == len(graph.calls) == len(tiles(result.stages[0].grid, (32, 32, 32)))
    assert dice(result.labels == 1, image == 200) > 0.85
    mask = np.zeros(SHAPE, np.uint16)
    mask[CUBE] = 1
    off, asked = replace(fake, hybrid="off"), Asked()
    again = run(asked, [LIVER, SPLEEN], image, mask=mask, rules=rules, used=off, hybrid="fine")
    assert np.array_equal(again.labels, result.labels) and len(asked.calls) == len(graph.calls)
    assert again.fallbacks == ["the user's mask is not used: the weights fakes take none"]


@pytest.mark.parametrize(("planes", "thickness_mm"), [(3, 1.0), (4, 1.0), (5, 0.8), (9, 1.0)])
def test_sat_labels_every_plane_of_a_volume_that_becomes_one(planes, thickness_mm):
    shape = (planes, 40, 40)
    case = CaseRules(read_rules(SAT["rules"]), shape, (thickness_mm, 1.0, 1.0), (), False, "CT")
    view = case.view(whole(shape), "fine")
    volume = np.zeros(shape, np.uint8)
    volume[0] = 100
    assert (to_view(volume, view)[0, :40, :40] == 100).all() or view.sampling.grid[0] > 1
    result = LabelMap(shape, 1)
    seen = np.zeros(view.shape, np.float32)
    seen[tuple(slice(0, n) for n in view.sampling.grid)] = 1
    result.add(*without_padding(seen, view), 1, 0.5)
    assert (result.labels == 1).all()
