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
    assert (code.components.min_size_ratio, paper.components.min_size_ratio) == (None, 0.6)
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
        (CONTENT | {"spacings": {}}, "unknown fields.*spacings"),
        (changed(spacing={"leest_mm": 1}), "leest_mm"),
        (changed(spacing={"shrink": 0}), "spacing.shrink is 0"),
        (changed(spacing={"least_mm": "1"}), "spacing.least_mm is '1'"),
        (changed(spacing={"divisor": [1.2, -1]}), "spacing.divisor"),
        (changed(coarse={"crop": [1, 2]}), "coarse.crop.*three numbers"),
        (changed(region={"spacing": {"nonsense": 1}}), "region.spacing.*nonsense"),
        (changed(paper_values={"spaceing": {}}), "spaceing"),
        (CONTENT | {"paper": "yes"}, "paper is 'yes'"),
        ({k: v for k, v in CONTENT.items() if k != "fine"}, "fine of the rules is incomplete"),
    ],
)
def test_what_makes_no_sense_is_refused(content, said):
    with pytest.raises(ProfileError, match=said):
        read_rules(content)
