"""A fake profile with Medal S's rules on small windows, and one case through the engine by it."""

import copy
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np

from tests.inference.fake_models import (
    BANK,
    Bright,
    Saved,
    make_case,
    make_profile,
    make_prompt,
)
from tests.inference.families.published.recorded import PROFILE, names
from vesal.inference.data.case import UserMask
from vesal.inference.engine import Engine
from vesal.inference.families.nano import NanoModel
from vesal.inference.families.published.case_rules import PublishedRules
from vesal.inference.families.published.rules import read_rules
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


def profile(paper: bool = False, **parts) -> Profile:
    """The fake profile with Medal S's rules on small windows; ``parts`` change the rules."""
    content = copy.deepcopy(CONTENT)
    for part, values in parts.items():
        content[part] = content[part] | values
    targets = [(name, None, "CT") for name in ("liver", "spleen", "lesion")]
    return replace(make_profile(targets=targets), ruled=PublishedRules(read_rules(content, paper), names()))


def run(graph, prompts, image, instance=False, mask=None, hybrid=None, used=None, clock=None):
    """One case through the engine."""
    model = NanoModel({0: graph}, BANK)
    engine = Engine(used or profile(), SimpleNamespace(name="fake"), model, hybrid)
    case = make_case(image, prompts, (1.0, 1.0, 1.0), instance)
    if mask is not None:
        case = replace(case, mask=UserMask(mask, tuple(int(i) for i in np.unique(mask) if i), "here"))
    return engine.segment(case, prompts, clock or Clock(600.0, 0.0, lambda: 0.0), Saved())
