"""What log and page say of one prompt, by what became of its voxels."""

from dataclasses import replace

import pytest

from vesal.inference.data.results import PromptResult
from vesal.inference.output.prompt_warnings import prompt_warning

FOUND = PromptResult(2, "Liver in CT", "liver", "CT", "term", "why", True, 12, 0.1, 0.9)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, None),
        ({"voxels": 0}, "prompt 2 is empty: liver was not found"),
        ({"voxels": 0, "target": None}, "prompt 2 is empty: Liver in CT was not found"),
        ({"voxels": 0, "target": None, "text": ""}, "prompt 2 is empty: what was marked was not found"),
        ({"voxels": 0, "lost_to": {1: 5}}, None),
        ({"covered": False, "voxels": 0}, "prompt 2 is empty: why"),
        ({"covered": False, "voxels": 7}, "prompt 2 is not run: why"),
        ({"covered": None, "voxels": None}, None),
    ],
)
def test_what_is_said_goes_by_voxels(changes: dict[str, object], said: str | None) -> None:
    assert prompt_warning(replace(FOUND, **changes)) == said
