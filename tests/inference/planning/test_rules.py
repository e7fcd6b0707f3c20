"""Rules as values: what a case adds to them, and that equal ones are one key."""

from msgspec import structs

from vesal.inference.geometry.layouts import Fit
from vesal.inference.planning.rules import CaseStageRule, StageRule


class Layout:
    """Stands for a family's, which lays views and takes regions."""


def test_equal_rules_are_one_key() -> None:
    """The ladder keeps what it makes of a rule by the rule."""
    one, same, other = StageRule(5000), StageRule(5000, overlap=0.5), StageRule(5000, rounds=2)
    assert {one: "one", other: "other"} == {same: "one", structs.replace(same, rounds=2): "other"}


def test_only_a_rule_of_a_case_has_a_familys_layout_and_keeps_it() -> None:
    rule, layout = StageRule(5000, threshold=0.4), Layout()
    own = structs.asdict(rule) | {"layout": layout, "label_region": layout}
    laid = CaseStageRule(**own)
    assert rule.layout == Fit() and rule.label_region is None
    assert laid.layout is layout and laid.label_region is layout and laid.threshold == 0.4
    fewer = structs.replace(laid, max_windows=2)
    assert fewer.layout is layout and fewer.label_region is layout and fewer.max_windows == 2
    assert laid == CaseStageRule(5000, threshold=0.4, layout=layout, label_region=layout) and laid != rule
    assert laid != structs.replace(laid, layout=Layout()) and hash(laid) == hash(structs.replace(laid))


def test_a_familys_layout_may_leave_the_regions_as_they_are() -> None:
    assert CaseStageRule(5000, layout=Layout()).label_region is None


def test_the_usual_stage_fits_its_views() -> None:
    """And what was once the same for all weights stands in the rule."""
    rule = StageRule(5000, max_windows=3)
    assert (rule.name, rule.role, rule.layout, rule.view_voxels) == ("coarse", "locate", Fit(), 15_000)
    assert (rule.max_queries, rule.min_window_prompt, rule.min_component_share) == (16, 0.02, 0.1)
    assert (rule.foreground_threshold, rule.keep_outside) == (0.5, False)
