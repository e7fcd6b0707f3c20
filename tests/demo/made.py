"""A made demo case for the tests of this folder."""

from dataclasses import replace
from typing import Any

import numpy as np

from vesal.demo.cases import DemoCase


def made_case(**changes: Any) -> DemoCase:
    """Return a case laid out left, inferior, anterior: id 1 fills 2 x 4 x 6 voxels of 1 x 2 x 3 mm."""
    truth = np.zeros((8, 10, 12), np.uint8)
    truth[3:5, 3:7, 3:9] = 1
    case = DemoCase(
        name="made",
        title="A box",
        image=(truth.astype(np.uint16) + 1) * 1000,
        truth=truth,
        spacing_dhw_mm=(1.0, 2.0, 3.0),
        prompts={1: "Left kidney in abdominal CT"},
        instance=False,
        scored=(slice(None), slice(None), slice(None)),
        directions=("L", "I", "A"),
        unit="mm",
        source="made here",
    )
    return replace(case, **changes)
