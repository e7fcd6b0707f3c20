"""The recorded decisions of the published code, and the profile that states its rules."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from vesal.inference.families.published.naming import Names, read_names
from vesal.inference.families.published.rules import Rules, read_rules

PROFILE = Path(__file__).resolve().parents[4] / "weights" / "medal-s" / "profile"


def rules(paper: bool = False) -> Rules:
    """Medal S's rules, as in the published code or as in the paper."""
    return read_rules(json.loads((PROFILE / "profile.json").read_text())["rules"], paper)


def names() -> Names:
    """Medal S's class names."""
    return read_names(json.loads((PROFILE / "names.json").read_text()))


def rows(shared: Path, name: str) -> Any:
    """A JSON file of recorded decisions."""
    return json.loads((shared / "fixtures" / "medals" / f"{name}.json").read_text())


def arrays(shared: Path, name: str) -> Any:
    """Recorded arrays; `sat/respace` or a name of the folder medals."""
    folder = shared / "fixtures" / (name.split("/")[0] if "/" in name else "medals")
    return np.load(folder / f"{name.split('/')[-1]}.npz")


def dhw(hwd: list) -> tuple:
    """(h,w,d), the order of the published code, to (D,H,W)."""
    h, w, d = hwd
    return d, h, w
