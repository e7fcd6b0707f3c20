"""Prompts become queries, or a reason why not."""

from tests.inference.fake_models import BANK, make_profile, make_prompt
from vesal.inference.families.nano import NanoModel
from vesal.inference.planning.plan import make_plan
from vesal.inference.planning.profile import Override
from vesal.inference.planning.rules import StageRule

KNOWS = NanoModel({}, BANK).knows


def test_a_covered_prompt_becomes_one_query() -> None:
    plan = make_plan([make_prompt(7, "kidney", "left")], make_profile(), KNOWS)
    (batch,) = plan.batches
    (query,) = batch.queries
    assert (query.prompt_id, query.name, query.concept, query.side, query.modality) == (
        7,
        "left kidney",
        "kidney",
        "left",
        "CT",
    )
    assert plan.covered == {7: "the term was found"} and plan.refused == {}


def test_an_unsided_prompt_asks_for_both_sides() -> None:
    plan = make_plan([make_prompt(3, "kidney")], make_profile(), KNOWS)
    assert [(q.prompt_id, q.name) for q in plan.batches[0].queries] == [
        (3, "left kidney"),
        (3, "right kidney"),
    ]
    assert "both sides" in plan.covered[3]


def test_one_side_is_not_both() -> None:
    """Weights that know the left kidney only must not answer for `kidneys`."""
    plan = make_plan([make_prompt(3, "kidney")], make_profile(targets=[("kidney", "left", "CT")]), KNOWS)
    assert plan.batches == () and "not covered" in plan.refused[3]


def test_another_modality_is_refused_with_the_one_there_is() -> None:
    plan = make_plan([make_prompt(1, "liver", modality="MR")], make_profile(), KNOWS)
    assert plan.batches == ()
    assert plan.refused[1] == (
        "the term was found; liver in MR is not covered by the weights fakes, only in CT"
    )


def test_an_unknown_sentence_is_refused_with_its_own_reason() -> None:
    plan = make_plan([make_prompt(5, None)], make_profile(), KNOWS)
    assert plan.refused == {5: "no term was found"}


def test_a_target_without_a_text_vector_is_refused() -> None:
    plan = make_plan([make_prompt(1, "aorta")], make_profile(targets=[("aorta", None, "CT")]), KNOWS)
    assert 1 in plan.refused


def test_prompts_with_the_same_rules_share_a_batch() -> None:
    """Liver and spleen go together, in prompt order; the lesion has rules of its own."""
    own = StageRule(window_voxels=4096)
    targets = [(name, None, "CT") for name in ("liver", "spleen", "lesion")]
    profile = make_profile(targets=targets, overrides=(Override("CT", "lesion", own, own),))
    asked = [
        make_prompt(9, "spleen"),
        make_prompt(4, "lesion", kind="lesion"),
        make_prompt(2, "liver"),
    ]
    plan = make_plan(asked, profile, KNOWS)
    assert [[q.prompt_id for q in b.queries] for b in plan.batches] == [[9, 2], [4]]
    assert plan.batches[0].coarse == profile.coarse and plan.batches[1].fine == own
