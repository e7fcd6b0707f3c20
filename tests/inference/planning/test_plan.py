"""Prompts become queries, or a reason why not."""

from dataclasses import replace

from tests.inference.fake_models import BANK, make_profile, make_prompt, make_stages
from vesal.inference.data.prompt import Prompt, Target
from vesal.inference.families.nano import NanoModel
from vesal.inference.planning.plan import (
    AppliedRule,
    Plan,
    Understood,
    applied_rules,
    listed_target,
    make_plan,
    open_sentence,
)
from vesal.inference.planning.profile import Override, Profile
from vesal.inference.planning.rules import StageRule
from vesal.postprocess.components import Components
from vesal.postprocess.fill_holes import FillHoles
from vesal.postprocess.instances import Instances
from vesal.postprocess.presence import Presence

KNOWS = NanoModel({}, BANK, make_profile()).knows


def planned(prompts: list[Prompt], profile: Profile) -> Plan:
    """The plan of weights with a list of targets."""
    return make_plan(prompts, profile, lambda prompt: listed_target(prompt, profile, KNOWS))


def test_a_covered_prompt_becomes_one_query() -> None:
    plan = planned([make_prompt(7, "kidney", "left")], make_profile())
    (batch,) = plan.batches
    (query,) = batch.queries
    assert (query.prompt_id, query.name, query.concept, query.side, query.modality) == (
        7,
        "left kidney",
        "kidney",
        "left",
        "CT",
    )
    assert plan.covered == {7: "the term was found; asked as the target left kidney"} and plan.refused == {}


def test_an_unsided_prompt_asks_for_both_sides() -> None:
    plan = planned([make_prompt(3, "kidney")], make_profile())
    assert [(q.prompt_id, q.name) for q in plan.batches[0].queries] == [
        (3, "left kidney"),
        (3, "right kidney"),
    ]
    assert "both sides" in plan.covered[3]


def test_of_a_pair_the_known_side_is_run_and_the_other_one_told() -> None:
    """Weights that know the left kidney alone answer for `kidneys` with it, and not for `right kidney`."""
    left = make_profile(targets=[("kidney", "left", "CT")])
    plan = planned([make_prompt(3, "kidney"), make_prompt(4, "kidney", "right")], left)
    assert [(q.prompt_id, q.name) for q in plan.batches[0].queries] == [(3, "left kidney")]
    assert "not in it" in plan.covered[3] and plan.covered[3].endswith("right kidney")
    assert "not covered" in plan.refused[4]


def test_a_whole_is_made_of_its_parts() -> None:
    knows = ("anterior hippocampus", "posterior hippocampus").__contains__
    parts = make_profile(targets=[(f"{end} hippocampus", None, "CT") for end in ("anterior", "posterior")])
    prompt = make_prompt(5, "hippocampus", kind="structure")
    understood = listed_target(prompt, parts, knows)
    assert [q.name for q in understood.queries] == ["anterior hippocampus", "posterior hippocampus"]
    assert understood.why.endswith("hippocampus is made of anterior hippocampus, posterior hippocampus")


def test_another_modality_is_refused_with_the_one_there_is() -> None:
    plan = planned([make_prompt(1, "liver", modality="MR")], make_profile())
    assert plan.batches == ()
    assert plan.refused[1] == (
        "the term was found; liver in MR is not covered by the weights fakes, only in CT"
    )


def test_an_unknown_sentence_is_refused_with_its_own_reason() -> None:
    plan = planned([make_prompt(5, None)], make_profile())
    assert plan.refused == {5: "no term was found"}


def test_a_target_without_a_text_vector_is_refused() -> None:
    plan = planned([make_prompt(1, "aorta")], make_profile(targets=[("aorta", None, "CT")]))
    assert 1 in plan.refused


def test_prompts_with_the_same_rules_share_a_batch() -> None:
    """Liver and spleen go together, in prompt order; the lesion has rules of its own."""
    own = make_stages(StageRule(window_voxels=4096), StageRule(window_voxels=4096))
    targets = [(name, None, "CT") for name in ("liver", "spleen", "lesion")]
    profile = make_profile(targets=targets, overrides=(Override("CT", "lesion", own),))
    asked = [
        make_prompt(9, "spleen"),
        make_prompt(4, "lesion", kind="lesion"),
        make_prompt(2, "liver"),
    ]
    plan = planned(asked, profile)
    assert [[q.prompt_id for q in b.queries] for b in plan.batches] == [[9, 2], [4]]
    assert plan.batches[0].stages == profile.stages and plan.batches[1].stages == own


def test_what_the_vocabulary_knows_is_asked_as_its_target() -> None:
    plan = planned([make_prompt(7, "kidney", "left")], make_profile())
    assert plan.batches[0].queries[0].sentence == ""
    assert plan.covered[7].endswith("asked as the target left kidney")


def test_an_open_vocabulary_is_asked_with_the_sentence_as_it_stands() -> None:
    """Also where our own vocabulary knows nothing in it."""
    prompt = make_prompt(5, None, text="Something unheard of")
    plan = make_plan([prompt], make_profile(), open_sentence)
    (query,) = plan.batches[0].queries
    assert (query.prompt_id, query.sentence, query.concept) == (5, "Something unheard of", None)
    assert query.name == "Something unheard of"
    assert "the sentence is asked as it stands" in plan.covered[5] and plan.refused == {}


def test_what_a_family_does_not_understand_is_refused_in_its_words() -> None:
    plan = make_plan([make_prompt(1, "liver")], make_profile(), lambda prompt: Understood((), "too small"))
    assert (plan.batches, plan.covered, plan.refused) == ((), {}, {1: "too small"})


def test_a_rule_of_a_plan_names_the_prompts_that_it_is_for() -> None:
    """By the kinds of their targets; null are all, in the profile's order."""
    targets = [(name, None, "CT") for name in ("liver", "spleen", "lesion")]
    rules = (FillHoles(), Components(kinds=("organ", "bone")), Presence(kinds=("muscle",)), Instances())
    asked = [make_prompt(9, "spleen"), make_prompt(4, "lesion", kind="lesion"), make_prompt(2, None)]
    plan = planned(asked, make_profile(targets=targets, postprocess=rules))
    assert [applied.rule for applied in plan.rules] == list(rules)
    assert [sorted(applied.ids) for applied in plan.rules] == [[4, 9], [9], [], [4, 9]]


def test_a_rule_for_single_things_leaves_out_what_is_run_as_two_sides() -> None:
    asked = [make_prompt(3, "kidney"), make_prompt(5, "kidney", "left")]
    profile = make_profile(postprocess=(Components(), FillHoles()))
    assert [sorted(applied.ids) for applied in planned(asked, profile).rules] == [[5], [3, 5]]


def test_a_family_that_plans_alone_gets_the_same_rules() -> None:
    queries = [
        query
        for batch in planned([make_prompt(7, "liver")], make_profile()).batches
        for query in batch.queries
    ]
    (applied,) = applied_rules((Components(kinds=("organ",)),), queries)
    assert applied == AppliedRule(Components(kinds=("organ",)), frozenset({7}))


def test_a_guessed_modality_excludes_nothing() -> None:
    """It is asked in the modality that covers most of the case's prompts, and that is told."""
    ct = [("liver", None, "CT"), ("kidney", None, "CT")]
    profile = make_profile(targets=[*ct, ("liver", None, "PET"), ("spleen", None, "MR")])
    names = ["liver", "kidney", "spleen", "nothing"]
    guessed = [replace(make_prompt(i, n, modality="MR"), guessed=True) for i, n in enumerate(names)]
    plan = planned(guessed, profile)
    asked = {q.name: q.modality for batch in plan.batches for q in batch.queries}
    assert asked == {"liver": "CT", "kidney": "CT", "spleen": "MR"}
    assert "MR is only guessed and does not cover it, so it is asked in CT" in plan.covered[0]
    assert "guessed" not in plan.covered[2]
    assert list(plan.refused) == [3]
    said = [replace(prompt, guessed=False) for prompt in guessed]
    assert list(planned(said, profile).covered) == [2]


def test_a_group_is_run_as_those_of_its_members_that_the_weights_know() -> None:
    members = tuple(Target(name, None, "organ") for name in ("liver", "kidney", "aorta"))
    prompt = make_prompt(4, None, targets=members, group="abdominal organs", why="a group")
    plan = planned([prompt], make_profile())
    assert [q.name for q in plan.batches[0].queries] == ["liver", "left kidney", "right kidney"]
    assert {q.prompt_id for q in plan.batches[0].queries} == {4}
    assert "left out" in plan.covered[4] and plan.covered[4].endswith("aorta")


def test_a_group_of_which_the_weights_know_nothing_is_refused_with_its_members() -> None:
    members = (Target("vertebra l1", None, "bone"), Target("vertebra l2", None, "bone"))
    plan = planned([make_prompt(4, None, targets=members, why="a range")], make_profile())
    assert plan.batches == () and "vertebra l1, vertebra l2" in plan.refused[4]


def test_a_target_that_is_named_twice_is_run_once() -> None:
    members = (Target("kidney", None, "organ"), Target("kidney", "left", "organ"))
    plan = planned([make_prompt(4, None, targets=members)], make_profile())
    assert [q.name for q in plan.batches[0].queries] == ["left kidney", "right kidney"]


def test_a_prompt_of_several_targets_has_their_names_and_no_single_concept() -> None:
    prompt = make_prompt(4, None, targets=(Target("liver", None, "organ"), Target("rib", "left", "bone")))
    assert (prompt.target, prompt.concept, prompt.side, prompt.kind) == ("liver, left rib", None, None, "")
    assert make_prompt(1, "kidney", "left").target == "left kidney"
    assert make_prompt(1, None).target is None
