"""A fake model with Medal S's rules on small windows, and one case through the engine by them."""

import copy
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from tests.inference.fake_models import (
    BANK,
    Bright,
    Saved,
    made_image,
    make_case,
    make_profile,
    make_prompt,
)
from tests.inference.families.published.recorded import PROFILE, names
from vesal.inference.data.user_prompts import UserMask, UserPrompts
from vesal.inference.engine import Engine
from vesal.inference.families.nano import NanoModel
from vesal.inference.families.published.case_decisions import PublishedRules
from vesal.inference.families.published.planning import plan_by_rules
from vesal.inference.families.published.rules import read_rules
from vesal.inference.planning.plan import Plan, listed_target
from vesal.inference.planning.profile import Profile
from vesal.inference.timing.clock import Clock

SHAPE = (40, 72, 72)
CUBE = (slice(10, 26), slice(20, 44), slice(8, 30))
FAR = (slice(30, 36), slice(56, 66), slice(56, 66))
SMALL = {
    "coarse": {"crop": [32, 32, 32], "target_mm": [2.0, 2.0, 2.0]},
    "fine": {"crop": [32, 32, 32], "target_mm": [1.0, 1.0, 1.0]},
}
CONTENT = json.loads((PROFILE / "profile.json").read_text())["rules"] | SMALL
LIVER = make_prompt(1, "liver", text="Liver in abdominal CT")
SPLEEN = make_prompt(4, "spleen", text="Spleen in abdominal CT")
LESION = make_prompt(1, "lesion", text="Lesion in whole body CT", kind="lesion")


class Asked(Bright):
    """Finds by brightness, and keeps which calls had a prompt."""

    def prompted(self) -> list[bool]:
        return [bool(call["prompt"].any()) for call in self.calls]


PROFILE_OF_FAKES = make_profile(targets=[(name, None, "CT") for name in ("liver", "spleen", "lesion")])


def published(paper: bool = False, switch: bool = False, **parts) -> PublishedRules:
    """Medal S's rules on small windows; ``switch`` is the profile's `published`, ``parts`` change them."""
    content = copy.deepcopy(CONTENT)
    for part, values in parts.items():
        content[part] = content[part] | values
    return PublishedRules(read_rules(content, paper), names(), switch)


class PlannedByRules(NanoModel):
    """A fake network whose cases are planned by rules."""

    def __init__(self, graph, rules: PublishedRules) -> None:
        super().__init__({0: graph}, BANK, PROFILE_OF_FAKES)
        self._rules = rules

    def plan(self, prompts, profile, case) -> Plan:
        """As the family ``query`` plans."""
        return plan_by_rules(
            prompts, profile, lambda p: listed_target(p, profile, self.knows), case, self._rules
        )


def plan(prompts, rules: PublishedRules, profile: Profile = PROFILE_OF_FAKES) -> Plan:
    """The plan of a case of `SHAPE`."""
    case = make_case(made_image(SHAPE), prompts)
    return PlannedByRules(None, rules).plan(prompts, profile, case)


def run(
    graph,
    prompts,
    image,
    instance=False,
    mask=None,
    hybrid=None,
    rules=None,
    clock=None,
    used=PROFILE_OF_FAKES,
):
    """One case through the engine."""
    model = PlannedByRules(graph, rules or published())
    engine = Engine(used, SimpleNamespace(name="fake"), model, hybrid)
    case = make_case(image, prompts, (1.0, 1.0, 1.0), instance)
    if mask is not None:
        given = UserMask(mask, tuple(int(i) for i in np.unique(mask) if i), "here")
        case = replace(case, user=UserPrompts(given))
    return engine.segment(case, prompts, clock or Clock(600.0, 0.0, lambda: 0.0), Saved())
