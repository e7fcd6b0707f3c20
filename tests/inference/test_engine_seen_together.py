"""Targets that were measured together come out the same whichever of them are asked for."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.inference.fake_models import (
    Bright,
    Saved,
    made_image,
    make_case,
    make_profile,
    make_prompt,
    segment,
)
from tests.inference.fake_models import make_engine as plain_engine
from tests.inference.stages.test_orientation import IMAGE as UPRIGHT
from tests.inference.stages.test_orientation import LIVER as UPRIGHT_LIVER
from tests.inference.stages.test_orientation import RULE, Upright
from vesal.inference.api import load
from vesal.inference.data.prompt import Prompt
from vesal.inference.data.user_prompts import UserMask, UserPrompts
from vesal.inference.engine import Engine
from vesal.inference.io.formats import read_case
from vesal.inference.planning.classes import separate_classes
from vesal.inference.planning.manifest import CoveredTarget, SeenTogether
from vesal.inference.planning.plan import Plan, listed_target, make_plan
from vesal.inference.planning.rules import StageRule
from vesal.inference.planning.seen_together import asked_alone, with_companions
from vesal.inference.timing.clock import Clock

TRUNK = SeenTogether("CT", ("spleen", "liver", "right kidney", "pancreas"))
CELLS = SeenTogether("CT", ("cell", "right kidney"))
PROMPTS = [make_prompt(1, "liver"), make_prompt(2, "spleen"), make_prompt(3, "kidney", "right")]
IMAGE = made_image(
    (32, 40, 48),
    ((slice(6, 16), slice(4, 16), slice(4, 16)), 200),
    ((slice(18, 24), slice(24, 34), slice(6, 12)), 120),
    ((slice(10, 20), slice(20, 30), slice(30, 40)), 160),
)


def make_engine(graph: Bright, *groups: SeenTogether, **rules: object) -> Engine:
    engine = plain_engine(graph, fine=StageRule(window_voxels=24**3, max_spacing_ratio=9.0), **rules)
    engine.profile = replace(engine.profile, seen_together=groups)
    return engine


def planned(prompts: Sequence[Prompt], *groups: SeenTogether) -> Plan:
    profile = replace(make_profile(), seen_together=groups)
    knows = ("liver", "spleen", "cell", "kidney").__contains__
    plan = make_plan(prompts, profile, lambda prompt: listed_target(prompt, profile, knows))
    return with_companions(separate_classes(plan, prompts), profile)


def queries(plan: Plan) -> list[tuple[str, int, bool]]:
    return [(q.name, q.class_id, q.companion) for batch in plan.batches for q in batch.queries]


def test_covered_members_are_added_with_classes_that_are_not_written() -> None:
    plan = planned([make_prompt(2, "liver")], TRUNK)
    assert queries(plan) == [("liver", 2, False), ("spleen", 1, True), ("right kidney", 3, True)]
    assert plan.written_as == {2: 2, 1: 0, 3: 0} and plan.classes == {2: (2,)}
    assert queries(asked_alone(plan)) == [("liver", 2, False)]


def test_nothing_is_added_for_others_or_without_groups() -> None:
    assert queries(planned([make_prompt(2, "cell")], TRUNK)) == [("cell", 2, False)]
    assert queries(planned([make_prompt(2, "liver")])) == [("liver", 2, False)]


def test_members_of_two_groups_bring_both() -> None:
    names = [name for name, _, _ in queries(planned([make_prompt(1, "kidney", "right")], TRUNK, CELLS))]
    assert sorted(names) == ["cell", "liver", "right kidney", "spleen"]


@pytest.mark.parametrize("asked", [(0,), (1,), (2,), (0, 2)])
def test_whatever_is_asked_beside_it_a_target_comes_out_the_same(asked: tuple[int, ...]) -> None:
    whole = segment(make_engine(Bright(), TRUNK), IMAGE, PROMPTS)
    some = [PROMPTS[i] for i in asked]
    saved, graph = Saved(), Bright()
    alone = segment(make_engine(graph, TRUNK), IMAGE, some, save=saved)
    for prompt in some:
        assert np.array_equal(alone.mask(prompt.id), whole.mask(prompt.id))
        assert whole.mask(prompt.id).any()
    ids = {0, *(prompt.id for prompt in some)}
    for labels in (alone.labels, *saved.maps):
        assert set(np.unique(labels)) <= ids
    assert set(alone.prompts) == ids - {0}
    # And without the group it depends on what else is asked for, which this test would not see otherwise.
    by_itself = segment(make_engine(Bright()), IMAGE, some)
    assert any(not np.array_equal(by_itself.mask(p.id), whole.mask(p.id)) for p in some)


def test_the_report_names_what_was_asked_and_says_what_the_view_is_laid_for() -> None:
    stages = segment(make_engine(Bright(), TRUNK), IMAGE, PROMPTS[:1]).stages
    assert [stage.name for stage in stages] == ["coarse", "fine liver"]
    assert "laid for spleen, right kidney as well" in stages[1].why


def test_what_is_too_poor_to_be_covered_is_run_beside_the_others() -> None:
    """The others were measured beside it."""
    targets = [("liver", None, "CT"), ("cell", None, "CT")]
    profile = replace(make_profile(targets=targets), seen_together=(TRUNK,))
    profile = replace(profile, not_covered=(CoveredTarget("spleen", None, "CT"),))
    prompt = make_prompt(2, "liver")
    plan = make_plan([prompt], profile, lambda each: listed_target(each, profile, lambda _: True))
    plan = with_companions(separate_classes(plan, [prompt]), profile)
    assert queries(plan) == [("liver", 2, False), ("spleen", 1, True)]


def test_views_of_companions_alone_are_run_where_they_overlap_one_that_is_asked_for() -> None:
    """Their targets win voxels there, as they do where they are asked for."""
    graph = Bright()
    engine = make_engine(graph, TRUNK)
    stages = plain_engine(
        fine=StageRule(window_voxels=24**3, max_targets_per_view=1, margin_factor=3.0)
    ).profile.stages
    engine.profile = replace(engine.profile, stages=stages)
    found = segment(engine, IMAGE, PROMPTS[:1]).stages
    assert [stage.name for stage in found] == ["coarse", "fine liver", "fine", "fine"]
    assert "for spleen beside what is asked for" in found[2].why


def test_views_of_companions_that_lie_elsewhere_are_not_run() -> None:
    liver, spleen = (slice(1, 7),) * 3, (slice(18, 30), slice(26, 38), slice(34, 46))
    graph = Bright()
    # The rim of the liver is as bright as the spleen, and too small to count.
    rule = StageRule(window_voxels=24**3, max_targets_per_view=1, margin_factor=1.2, min_component_share=0.5)
    engine = make_engine(graph, SeenTogether("CT", ("liver", "spleen")))
    engine.profile = replace(engine.profile, stages=plain_engine(fine=rule).profile.stages)
    image = made_image((32, 40, 48), (liver, 200), (spleen, 120))
    assert segment(engine, image, PROMPTS[:2]).prompts[1].voxels > 0
    graph.calls.clear()
    segment(engine, image, PROMPTS[1:2])
    assert [call["text"].shape[1] for call in graph.calls] == [2, 1]


@pytest.mark.parametrize("there", ["liver", "spleen"])
def test_a_shared_target_counts_to_the_group_of_which_most_is_found(there: str) -> None:
    cubes = {
        "liver": ((slice(6, 16), slice(4, 16), slice(4, 16)), 200),
        "spleen": ((slice(18, 24), slice(24, 34), slice(6, 12)), 120),
    }
    kidney = ((slice(10, 20), slice(20, 30), slice(30, 40)), 160)
    groups = [SeenTogether("CT", (name, "right kidney")) for name in cubes]
    image = made_image((32, 40, 48), kidney, cubes[there])
    stages = segment(make_engine(Bright(), *groups), image, PROMPTS[2:]).stages
    assert f"laid for {there} as well" in stages[1].why


def test_companions_of_a_group_that_a_shared_target_does_not_count_to_are_not_run() -> None:
    """A head and neck asks for the esophagus, and nothing of an abdomen has a say in it."""
    groups = [SeenTogether("CT", (name, "right kidney")) for name in ("liver", "spleen")]
    engine = make_engine(Bright(), *groups)
    rule = StageRule(window_voxels=24**3, max_targets_per_view=1, margin_factor=3.0)
    engine.profile = replace(engine.profile, stages=plain_engine(fine=rule).profile.stages)
    names = [stage.name for stage in segment(engine, IMAGE, [PROMPTS[0], PROMPTS[2]]).stages]
    assert names == ["coarse", "fine liver", "fine right kidney"]


class Sure(Bright):
    """``Bright`` that finds more: what is 22 off a target's brightness has .79."""

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        found = super().__call__(inputs)
        return {name: value**0.3 for name, value in found.items()}


def test_a_companion_that_the_coarse_stage_misses_wins_what_it_would_win_asked_for() -> None:
    """One voxel is lost in the coarse view; the fine one around the liver shows it."""
    voxel = (slice(10, 11), slice(10, 11), slice(16, 17))
    image = made_image((48, 64, 64), ((slice(6, 16),) * 3, 200), (voxel, 178), background=250)
    both_known = [("liver", None, "CT"), ("kidney", None, "CT")]
    engine = make_engine(Sure(), SeenTogether("CT", ("liver", "kidney")), targets=both_known)
    prompts = [make_prompt(1, "liver"), make_prompt(2, "kidney")]
    both = segment(engine, image, prompts)
    assert both.mask(2).any()
    alone = segment(engine, image, prompts[:1])
    assert np.array_equal(alone.mask(1), both.mask(1))
    by_itself = segment(make_engine(Sure()), image, prompts[:1])
    assert not np.array_equal(by_itself.mask(1), both.mask(1))


def test_instances_and_what_a_user_marked_are_run_by_themselves() -> None:
    graph = Bright()
    segment(make_engine(graph, TRUNK), IMAGE, PROMPTS[:1], instance=True)
    assert graph.calls[0]["text"].shape[1] == 1
    graph, mask = Bright(), np.zeros(IMAGE.shape, np.uint8)
    mask[8:14, 6:14, 6:14] = 1
    user = UserPrompts(mask=UserMask(mask, (1,), "here"))
    case = replace(make_case(IMAGE, PROMPTS[:1]), user=user)
    make_engine(graph, TRUNK).segment(case, PROMPTS[:1], Clock(600.0, 0.0, lambda: 0.0), Saved())
    assert all(call["text"].shape[1] == 1 for call in graph.calls)


def test_companions_say_nothing_of_how_a_case_lies() -> None:
    """One target alone decides nothing, also where others are run beside it and are not there."""
    rules = {"any_orientation": False, "orientation": RULE}
    engine = make_engine(Upright(), SeenTogether("CT", ("liver", "cell", "spleen")), **rules)
    names = [stage.name for stage in segment(engine, UPRIGHT[::-1], [UPRIGHT_LIVER]).stages]
    assert "orientation" not in names


def test_an_organ_of_a_real_abdomen_alone_is_that_of_all_fifteen(shared: Path) -> None:
    case = read_case(shared / "cases/imgs/CT_AMOS_amos_0018.npz")
    model = load("nano")
    together = model.segment(case.image, case.spacing_dhw_mm, case.sentences)
    found = [p.id for p in together.prompts if together.mask(p.id).sum() > 50]
    assert len(found) >= 10
    for id_ in found:
        alone = model.segment(case.image, case.spacing_dhw_mm, {id_: case.sentences[id_]})
        assert np.array_equal(alone.mask(id_), together.mask(id_)), case.sentences[id_]
