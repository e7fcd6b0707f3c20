"""Rules as data: the switch between code and paper, and what is refused."""

import copy
import json

import pytest

from tests.inference.families.published.recorded import PROFILE
from vesal.inference.data.errors import ProfileError
from vesal.inference.families.published.rules import read_rules

CONTENT = json.loads((PROFILE / "profile.json").read_text())["rules"]


def changed(**parts):
    content = copy.deepcopy(CONTENT)
    for part, values in parts.items():
        content[part].update(values)
    return content


def test_the_code_is_the_default_and_the_paper_a_switch():
    assert CONTENT["paper"] is False
    code, paper = read_rules(CONTENT), read_rules(CONTENT | {"paper": True})
    assert (code.components.choose.min_size_ratio, paper.components.choose.min_size_ratio) == (None, 0.6)
    assert (code.paper, paper.paper) == (False, True)
    assert paper == read_rules(CONTENT, paper=True)


def test_what_the_paper_does_not_change_stays():
    code, paper = read_rules(CONTENT), read_rules(CONTENT, paper=True)
    assert paper.spacing.divisors == code.spacing.divisors != {}
    assert paper.rounds.instance == code.rounds.instance


def test_the_volume_limit_is_the_recorded_one():
    assert read_rules(CONTENT).components.below_voxels == 650 * 650 * 100


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (CONTENT | {"spacings": {}}, "unknown field `spacings` - at `$.rules`"),
        (changed(spacing={"leest_mm": 1}), "unknown field `leest_mm` - at `$.rules.spacing`"),
        (changed(spacing={"shrink": 0}), "Expected `float` > 0.0 - at `$.rules.spacing.shrink`, which is 0"),
        (
            changed(spacing={"least_mm": "1"}),
            "got `str` - at `$.rules.spacing.least_mm`, which is '1'",
        ),
        (changed(spacing={"divisor": [1.2, -1]}), "> 0.0 - at `$.rules.spacing.divisor[1]`, which is -1"),
        (
            changed(spacing={"unit_classes": "CT_Liver"}),
            "got `str` - at `$.rules.spacing.unit_classes`",
        ),
        (
            changed(components={"choose": {"min_size_ratio": 2}}),
            "<= 1.0 - at `$.rules.components.choose.min_size_ratio`, which is 2",
        ),
        (changed(components={"largest": 3}), "unknown field `largest` - at `$.rules.components`"),
        (changed(coarse={"crop": [1, 2]}), "`array` of length 3, got 2 - at `$.rules.coarse.crop`"),
        (changed(rounds={"never": {"late": []}}), "matching regex '^(coarse|fine)"),
        (changed(rounds={"instance": True}), "`int`, got `bool` - at `$.rules.rounds.instance`"),
        (
            changed(region={"spacing": {"nonsense": 1}}),
            "field `nonsense` - at `$.rules.region.spacing`",
        ),
        (changed(region={"spacing": {"shrink": "1"}}), "- at `$.rules.region.spacing.shrink`, which is '1'"),
        (changed(paper_values={"spaceing": {}}), "unknown field `spaceing` - at `$.rules.paper_values`"),
        (changed(paper_values={"spacing": {"shrink": -1}}), "- at `$.rules.paper_values.spacing.shrink`"),
        (CONTENT | {"paper": "yes"}, "Expected `bool`, got `str` - at `$.rules.paper`, which is 'yes'"),
        ({k: v for k, v in CONTENT.items() if k != "fine"}, "missing required field `fine` - at `$.rules`"),
    ],
)
def test_what_makes_no_sense_is_refused(content, said):
    with pytest.raises(ProfileError) as caught:
        read_rules(content)
    assert said in str(caught.value)


def test_the_paper_changes_single_fields_of_how_components_are_chosen():
    content = changed(components={"choose": {"max_components": 5, "min_size_ratio": None}})
    code, paper = (read_rules(content, paper).components.choose for paper in (False, True))
    assert (code.max_components, code.min_size_ratio) == (5, None)
    assert (paper.max_components, paper.min_size_ratio) == (5, 0.6)
