"""One class for each thing that is run, whoever asks for it."""

from collections.abc import Sequence

from tests.inference.fake_models import make_profile, make_prompt
from vesal.inference.data.prompt import Prompt
from vesal.inference.planning.classes import overlap_notes, separate_classes
from vesal.inference.planning.plan import Plan, listed_target, make_plan
from vesal.postprocess.components import Components
from vesal.postprocess.rule import Rule

KNOWS = ("liver", "spleen", "cell", "kidney").__contains__


def planned(prompts: Sequence[Prompt], marked: Sequence[int] = (), rules: tuple[Rule, ...] = ()) -> Plan:
    profile = make_profile(postprocess=rules)
    plan = make_plan(prompts, profile, lambda prompt: listed_target(prompt, profile, KNOWS))
    return separate_classes(plan, prompts, marked)


def run(plan: Plan) -> list[tuple[str, int]]:
    return [(query.name, query.class_id) for batch in plan.batches for query in batch.queries]


def test_a_prompt_of_one_thing_keeps_its_id_as_class() -> None:
    plan = planned([make_prompt(4, "liver"), make_prompt(9, "spleen")])
    assert run(plan) == [("liver", 4), ("spleen", 9)]
    assert plan.classes == {4: (4,), 9: (9,)}
    assert plan.written_as == {4: 4, 9: 9}


def test_both_sides_have_classes_of_their_own_and_one_id() -> None:
    plan = planned([make_prompt(1, "kidney"), make_prompt(2, "liver")])
    assert run(plan) == [("left kidney", 1), ("right kidney", 3), ("liver", 2)]
    assert plan.classes[1] == (1, 3)
    assert plan.written_as == {1: 1, 3: 1, 2: 2}


def test_what_two_prompts_ask_for_is_run_once_and_written_as_the_more_specific_one() -> None:
    for prompts in (
        [make_prompt(1, "kidney"), make_prompt(2, "kidney", "left")],
        [make_prompt(2, "kidney", "left"), make_prompt(1, "kidney")],
    ):
        plan = planned(prompts)
        assert sorted(name for name, _ in run(plan)) == ["left kidney", "right kidney"]
        (shared,) = set(plan.classes[1]) & set(plan.classes[2])
        assert plan.written_as[shared] == 2
        assert {plan.written_as[each] for each in plan.classes[1]} == {1, 2}


def test_one_sentence_twice_is_run_once_and_written_as_the_first() -> None:
    plan = planned([make_prompt(3, "liver"), make_prompt(5, "liver")])
    assert run(plan) == [("liver", 3)]
    assert plan.classes == {3: (3,), 5: (3,)}
    assert plan.written_as == {3: 3}


def test_what_the_user_marked_is_run_for_its_prompt_alone() -> None:
    plan = planned([make_prompt(3, "liver"), make_prompt(5, "liver")], marked=[5])
    assert run(plan) == [("liver", 3), ("liver", 5)]


def test_a_class_never_has_the_id_of_a_refused_prompt() -> None:
    plan = planned([make_prompt(1, "kidney"), make_prompt(2, "aorta")])
    assert plan.refused.keys() == {2}
    assert [class_id for _, class_id in run(plan)] == [1, 3]


def test_a_rule_for_single_things_is_for_each_side() -> None:
    (applied,) = planned([make_prompt(1, "kidney")], rules=(Components(kinds=("organ",)),)).rules
    assert applied.ids == {1, 2}


def test_the_notes_say_whose_id_is_written() -> None:
    prompts = [make_prompt(1, "kidney"), make_prompt(2, "kidney", "left"), make_prompt(3, "kidney", "left")]
    one, two = overlap_notes(planned(prompts), prompts)
    assert one.startswith("prompt 1 (kidney): left kidney has the id of prompt 2 (left kidney)")
    assert "more specific" in one
    assert two.startswith("prompt 3") and "asks for the same" in two
    assert overlap_notes(planned(prompts[:1]), prompts[:1]) == ()


def test_where_each_prompt_is_run_by_itself_twins_are_told_too() -> None:
    """Plans by published rules take regions from a label map of prompt ids: they stay as they are."""
    prompts = [make_prompt(1, "liver"), make_prompt(2, "liver"), make_prompt(3, "spleen")]
    profile = make_profile()
    plan = make_plan(prompts, profile, lambda prompt: listed_target(prompt, profile, KNOWS))
    (note,) = overlap_notes(plan, prompts)
    assert note.startswith("prompt 2 (liver) asks for liver as prompt 1 (liver) does")


def test_what_a_user_marked_is_told_where_another_prompt_asks_for_it() -> None:
    prompts = [make_prompt(3, "liver"), make_prompt(5, "liver")]
    (note,) = overlap_notes(planned(prompts, marked=[5]), prompts)
    assert note.startswith("prompt 5 (liver) asks for liver as prompt 3 (liver) does")
