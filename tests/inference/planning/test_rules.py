"""Rules as values: what a case adds to them, and that equal ones are one key."""

from msgspec import structs

from vesal.inference.planning.rules import CaseFilterRule, FilterRule, LaidStageRule, StageRule


class Layout:
    """Stands for a family's."""


def test_equal_rules_are_one_key() -> None:
    """The ladder keeps what it makes of a rule by the rule."""
    one, same, other = StageRule(5000), StageRule(5000, overlap=0.5), StageRule(5000, rounds=2)
    assert {one: "one", other: "other"} == {same: "one", structs.replace(same, rounds=2): "other"}


def test_only_a_rule_of_a_case_has_a_layout_and_keeps_it() -> None:
    rule, layout = StageRule(5000, threshold=0.4), Layout()
    laid = LaidStageRule(**structs.asdict(rule), layout=layout)
    assert rule.layout is None and laid.layout is layout and laid.threshold == 0.4
    fewer = structs.replace(laid, max_windows=2)
    assert fewer.layout is layout and fewer.max_windows == 2
    assert laid == LaidStageRule(5000, threshold=0.4, layout=layout) and laid != rule
    assert laid != structs.replace(laid, layout=Layout()) and hash(laid) == hash(structs.replace(laid))


def test_only_a_filter_rule_of_a_case_names_prompts() -> None:
    rule = FilterRule(component_kinds=("organ",))
    of_case = CaseFilterRule(**structs.asdict(rule), component_ids=(4,))
    assert (rule.component_ids, of_case.component_ids, of_case.component_kinds) == ((), (4,), ("organ",))
