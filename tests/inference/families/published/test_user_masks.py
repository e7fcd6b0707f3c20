"""What the networks see as spatial prompt by the rules: no specks, every stroke, masks or probabilities."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.inference.fake_models import (
    dice,
    made_image,
    make_prompt,
)
from tests.inference.families.published.made import CUBE, LIVER, SHAPE, SMALL, Asked, published, run
from tests.inference.families.published.recorded import names, rows, rules
from vesal.inference.families.published.case_decisions import PublishedRules, decide
from vesal.inference.families.published.case_rules import CaseRules, GridLayout
from vesal.inference.geometry.tilings import HalfStepTiling, tiles
from vesal.inference.geometry.views import Sampling, View
from vesal.inference.planning.rules import CaseStageRule
from vesal.inference.stages.label_map import LabelMap
from vesal.inference.stages.regions import find_regions
from vesal.inference.stages.spatial_prompt import MaskPrompt, prompt_from_labels
from vesal.inference.stages.view_task import Volume


def test_prompts_are_masks_and_each_half_is_seen_once():
    graph, image = Asked(), made_image(SHAPE, (CUBE, 200))
    run(graph, [LIVER], image)
    pairs = [call["prompt"][0, 0] for call in graph.calls if call["prompt"].any()]
    assert pairs and all(set(np.unique(p)) <= {0.0, 1.0} for p in pairs)
    first, second = pairs[0], pairs[1]
    assert not (first * second).any()


SPECK = (slice(2, 3), slice(2, 3), slice(60, 63))
"""Three voxels that the fake network finds as well."""


def test_specks_of_the_coarse_result_are_no_prompts_and_not_kept():
    """Coarse voxels of 1 mm: the speck is found, and in a semantic case goes before anything sees it."""
    stages = {"coarse": SMALL["coarse"] | {"target_mm": [1.0, 1.0, 1.0]}}
    image = made_image(SHAPE, (CUBE, 200), (SPECK, 200))
    used = published(stages={"skip_fine": ["CT_Liver"]}, **stages)
    labels = run(Asked(), [LIVER], image, rules=used).labels
    assert labels[CUBE].any() and not labels[SPECK].any()
    asked = Asked()
    run(asked, [LIVER], image, rules=published(**stages))
    assert not any(call["prompt"][0, 0, 2, 2].any() for call in asked.calls)


def test_all_recorded_prompts_are_those_of_the_engine(shared):
    """Voxels of each label that reach the fine stage, specks gone: `prompt_counts` of every recorded call."""
    checked = 0
    for row in rows(shared, "main_decisions"):
        calls = [c for c in row["result"].get("calls", []) if c.get("prompt_counts")]
        if not calls:
            continue
        shape, (x, y, z) = tuple(row["shape"]), row["spacing"]
        asked = {i: (text, None, "CT") for i, text in enumerate(row["texts"], 1)}
        decided = decide(
            asked, shape, (z, y, x), bool(row["instance_label"]), PublishedRules(rules(), names())
        )
        result = LabelMap(shape, 255)
        for z0, z1, y0, y1, x0, x1, label in row["lowres_boxes"]:
            result.labels[z0:z1, y0:y1, x0:x1] = label
            result.boxes[label] = tuple(slice(0, n) for n in shape)
        layout = decided.layouts["fine"]
        if (solid := layout.solid(result.labels)) is not None:
            result.keep(solid)
        volume = Volume(np.zeros(shape, np.uint8), (z, y, x), (0.0, 1.0))
        rule = CaseStageRule(1, layout=layout, label_region=layout)
        queries = [SimpleNamespace(prompt_id=i) for i in asked]
        before = [None] * len(queries)
        ((index, target),) = find_regions(volume, rule, before, queries, None, result.labels)
        assert index == tuple(range(len(queries)))
        at = tuple(slice(int(a), int(b)) for a, b in zip(target.box.start, target.box.stop, strict=True))
        counts = np.bincount(target.labels[at].ravel())
        assert {str(i): int(n) for i, n in enumerate(counts) if n} == calls[0]["prompt_counts"], row["name"]
        checked += 1
    assert checked == 60


@pytest.mark.parametrize("hybrid", ["coarse", "fine"])
@pytest.mark.parametrize(
    "stroke",
    [
        (np.full(9, 15), np.full(9, 30), np.arange(10, 19)),
        (np.arange(8, 28), np.arange(20, 40), np.arange(10, 30)),
    ],
    ids=["straight", "diagonal"],
)
def test_a_users_thin_stroke_is_a_prompt_and_no_speck(stroke, hybrid):
    image, mask, graph = made_image(SHAPE, (CUBE, 200)), np.zeros(SHAPE, np.uint16), Asked()
    mask[stroke] = 1
    result = run(graph, [LIVER], image, mask=mask, hybrid=hybrid)
    # Complementary halves: a prompted window takes two calls, of which one may see none of so few voxels.
    coarse = (2 if hybrid == "coarse" else 1) * len(tiles(result.stages[0].grid, (32, 32, 32)))
    assert any(graph.prompted()[:coarse]) is (hybrid == "coarse")
    assert any(graph.prompted()[coarse:])
    assert dice(result.labels == 1, image == 200) > 0.95


def test_a_stroke_thinner_than_the_views_voxels_stays_where_its_largest_share_is():
    mask = np.zeros(SHAPE, np.uint16)
    mask[9, 30, 10:19] = 1
    case = CaseRules(published().rules, SHAPE, (1.0, 1.0, 1.0), ("CT_Liver", "CT_Spleen"), False)
    layout = GridLayout(case, "fine", 32**3)
    tiling, sampling = HalfStepTiling((32, 32, 32)), Sampling((5, 9, 9), SHAPE, None)
    view = View((0.0, 0.0, 0.0), (8.0, 8.0, 8.0), (32, 32, 32), 0, 0, tiling, sampling)
    assert not layout.prompt_labels(mask, view).any()
    queries = [SimpleNamespace(prompt_id=1)]
    given = MaskPrompt(mask, (1,), "here")
    assert prompt_from_labels(queries, mask, layout, given)(view).sum() > 0
    assert not prompt_from_labels(queries, mask, layout, None)(view).any()


def test_more_prompts_than_the_coarse_stage_would_take_are_asked_at_once():
    prompts = [make_prompt(i, "liver", text="Liver in abdominal CT") for i in range(1, 18)]
    graph = Asked()
    run(graph, prompts, made_image(SHAPE, (CUBE, 200)))
    assert {call["text"].shape[1] for call in graph.calls} == {17}


def test_the_papers_fine_stage_sees_probabilities():
    """The fake network is half sure of a darker liver."""
    values = {}
    for paper in (False, True):
        graph = Asked(sure=0.8)
        result = run(graph, [LIVER], made_image(SHAPE, (CUBE, 200)), rules=published(paper))
        coarse = result.stages[0].windows
        calls = [c["prompt"] for c in graph.calls[coarse:] if c["prompt"].any()]
        values[paper] = np.unique(np.concatenate([p.ravel() for p in calls]))
    assert set(values[False]) == {0.0, 1.0}
    assert np.any((values[True] > 0.0) & (values[True] < 1.0))


@pytest.mark.parametrize("hybrid", ["coarse", "fine"])
def test_a_users_mask_is_a_prompt_here_too(hybrid):
    image, mask = made_image(SHAPE, (CUBE, 200)), np.zeros(SHAPE, np.uint16)
    mask[CUBE] = 1
    graph = Asked()
    result = run(graph, [LIVER], image, mask=mask, hybrid=hybrid)
    coarse = len(tiles(result.stages[0].grid, (32, 32, 32)))
    assert any(graph.prompted()[:coarse]) is (hybrid == "coarse")
    assert ("user's mask" in result.stages[1].why) is (hybrid == "fine")
    assert dice(result.labels == 1, image == 200) > 0.95
