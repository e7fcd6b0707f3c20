"""Which axes of a stage may be mirrored, as a manifest says it."""

from pathlib import Path
from typing import Any

import pytest

from tests.inference.planning.test_profile import manifest, refusal


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"mirror_axes": [3]}, "Invalid enum value 3 - at `$.stages[0].mirror_axes"),
        ({"mirror_axes": [1, 1]}, "`$.stages[0].mirror_axes` is [1, 1]; each axis is wanted once"),
        (
            {"mirror_axes": [1], "layout": {"kind": "slices", "axis": 0}},
            "`$.stages[0].mirror_axes` is [1]; runs of slices are not mirrored",
        ),
    ],
)
def test_axes_that_cannot_be_mirrored_are_refused(tmp_path: Path, values: dict[str, Any], said: str) -> None:
    content = manifest()
    content["stages"][0] |= values
    assert said in refusal(tmp_path, content)
