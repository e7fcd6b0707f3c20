"""Whole cases: every run of the published `main` that was recorded, and what ours does where it crashed."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.inference.families.published.recorded import dhw, names, rows, rules
from vesal.inference.families.published.decisions import filters_volume, is_filtered, plan_named, refinements
from vesal.inference.families.published.region import region_bounds, region_factor
from vesal.inference.families.published.spacing import plausible_spacing, region_spacing_mm
from vesal.postprocess.specks import remove_specks

CODE, PAPER, NAMES = rules(), rules(paper=True), names()
CRASHED = {"unknown_class_in_ct", "no_modality", "stage1_only_specks", "synaptic_semantic_flag"}


def spacing_of(row):
    """The file's spacing as the published code reads it, (D,H,W): x along h."""
    return plausible_spacing(tuple(row["shape"]), dhw(row["spacing"]), CODE.spacing)


def plan_of(sentences, shape, instance=False):
    """The decisions on a case with these sentences."""
    named = {id_: NAMES.name(text, instance) for id_, text in sentences.items()}
    return plan_named(named, shape, instance, CODE)


def painted(row):
    """The coarse label map of a recorded run."""
    labels = np.zeros(row["shape"], np.uint8)
    for z0, z1, y0, y1, x0, x1, label in row["lowres_boxes"]:
        labels[z0:z1, y0:y1, x0:x1] = label
    return labels


def run(row):
    """Our decisions on a recorded run; the fine stage finds its first two slices, as in the recording."""
    instance = bool(row["instance_label"])
    sentences = {int(v): t for v, t in zip(row["label_values"], row["texts"], strict=True)}
    plan = plan_of(sentences, tuple(row["shape"]), instance)
    coarse = painted(row) if plan.coarse else np.zeros(row["shape"], np.uint8)
    if not instance:
        coarse[~remove_specks(coarse, CODE.stages.least_component)] = 0
    prompted = bool(coarse.any())
    bounds = region_bounds(coarse > 0, spacing_of(row), plan.classes, CODE)
    region = tuple(slice(*b) for b in bounds)
    final = coarse
    if plan.fine:
        final = np.zeros_like(coarse)
        final[region][:2] = 1
    return SimpleNamespace(
        plan=plan, bounds=bounds, region=region, coarse=coarse, prompted=prompted, final=final
    )


def recorded(shared):
    found = rows(shared, "main_decisions")
    assert len(found) == 68
    return found


def test_all_recorded_runs_take_the_same_decisions(shared):
    for row in recorded(shared):
        if row["name"] in CRASHED:
            continue
        ours, calls = run(row), row["result"]["calls"]
        stages = [True] * ours.plan.coarse + [False] * ours.plan.fine
        assert [c["stage1"] for c in calls] == stages, row["name"]
        for call in calls:
            check_call(row, call, ours)
        check_end(row, ours)


def check_call(row, call, ours):
    """One call of the network's stage: what it was given."""
    name, stage = row["name"], "coarse" if call["stage1"] else "fine"
    assert ours.plan.modality.lower() == call["modality"], name
    assert list(ours.plan.classes) == call["class_names"], name
    assert ours.plan.probabilities == call["return_max_prob"], name
    assert dhw(call["raw_spacing"]) == spacing_of(row), name
    assert dhw(call["crop"]) == CODE.grid(stage).crop, name
    assert dhw(call["target"]) == CODE.grid(stage).target_mm, name
    assert call["prompted"] == (stage == "fine" and ours.prompted), name
    if stage == "coarse":
        assert call["raw_shape"] == row["shape"], name
        return
    assert call["raw_shape"] == [stop - start for start, stop in ours.bounds], name
    if not ours.prompted:
        return
    assert [v for a, b in ours.bounds for v in (a, b - 1)] == call["roi_zyx_inclusive"], name
    assert region_factor(ours.plan.classes, CODE) == call["m"], name
    reach = region_spacing_mm(tuple(row["shape"]), spacing_of(row), ours.plan.classes, CODE)
    assert list(reach) == call["roi_spacing_dhw"], name
    counts = np.bincount(ours.coarse[ours.region].ravel())
    assert {str(i): int(n) for i, n in enumerate(counts) if n} == call["prompt_counts"], name


def check_end(row, ours):
    """What is filtered, and what comes out."""
    name, result = row["name"], row["result"]
    assert list(ours.plan.filtered) == result.get("postprocess_labels", []), name
    assert dhw(result["saved_spacing"]) == spacing_of(row), name
    found = ours.final > 0
    at = [np.flatnonzero(found.any(axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    assert [a[0] for a in at] + [a[-1] for a in at] == result["final_bbox"], name
    assert int(ours.final.sum()) == result["final_sum"], name


def test_the_recorded_crashes_are_the_known_ones(shared):
    assert {row["name"] for row in recorded(shared) if "exception" in row["result"]} == CRASHED


@pytest.mark.parametrize("name", sorted(CRASHED - {"stage1_only_specks"}))
def test_where_a_name_crashes_the_code_ours_is_an_empty_class_with_a_reason(shared, name):
    row = next(r for r in recorded(shared) if r["name"] == name)
    ours = run(row)
    assert set(ours.plan.empty()) == {1}
    assert repr(row["texts"][0]) in ours.plan.empty()[1]
    assert ours.plan.coarse and ours.plan.fine and ours.plan.classes == ()


def test_where_specks_crash_the_code_ours_looks_at_the_whole_volume(shared):
    row = next(r for r in recorded(shared) if r["name"] == "stage1_only_specks")
    ours = run(row)
    assert painted(row).any() and not ours.prompted
    assert [stop - start for start, stop in ours.bounds] == list(row["shape"])


def test_one_unknown_sentence_does_not_empty_the_others():
    plan = plan_of({1: "Liver in CT", 7: "Unheard of in CT"}, (40, 64, 64))
    assert plan.classes == ("CT_Liver",) and set(plan.empty()) == {7}


def test_all_560_recorded_rounds_are_reproduced(shared):
    for row in rows(shared, "read_npz_decisions"):
        stage = "coarse" if row["stage1"] else "fine"
        assert refinements(row["classes"], stage, True, CODE) == row["num_iterations"], row
        assert refinements(row["classes"], stage, False, CODE) == 0


def test_the_paper_refines_semantic_cases_and_filters_every_class():
    assert refinements(["CT_Liver"], "fine", False, PAPER) == 1
    assert is_filtered("CT_Liver", False, PAPER) and not is_filtered("CT_Liver", False, CODE)
    large = (330, 512, 512)
    assert filters_volume(large, PAPER) and not filters_volume(large, CODE)


def test_the_modality_of_most_sentences_counts_the_first_of_equals():
    two = {1: "Liver in abdominal CT", 2: "Segmentation of right atrium in Heart MR"}
    assert plan_of(two, (9, 9, 9)).modality == "CT"
    assert plan_of(dict(reversed(two.items())), (9, 9, 9)).modality == "MRI"
