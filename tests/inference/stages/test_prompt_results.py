"""What the report says of prompts, counted from a label map that can be counted by hand."""

import numpy as np
import pytest

from tests.inference.fake_models import make_case, make_prompt
from vesal.inference.geometry.views import View
from vesal.inference.planning.plan import Plan
from vesal.inference.stages.label_map import LabelMap
from vesal.inference.stages.prompt_results import prompt_results, stage_report
from vesal.inference.stages.stage_result import StageResult

PROMPTS = (make_prompt(3, "liver"), make_prompt(7, "spleen"), make_prompt(300, "aorta"))
PLAN = Plan((), {3: "found", 7: "found too"}, {300: "not covered"})
SPACING = (5.0, 2.0, 1.0)


@pytest.fixture
def result() -> LabelMap:
    """Eight voxels of prompt 3, half of them at 0.5 and half at 1; two apart of prompt 7 at 0.75."""
    made = LabelMap((4, 4, 8), 300)
    made.labels[0:2, 0:2, 0:2] = 3
    made.probability[0, 0:2, 0:2], made.probability[1, 0:2, 0:2] = 0.5, 1.0
    made.labels[3, 3, 5], made.labels[3, 3, 7] = 7, 7
    made.probability[3, 3, 5:] = 0.75
    return made


def test_voxels_volume_and_mean_probability(result: LabelMap) -> None:
    """A voxel has 10 cubic millimetres: eight are 0.08 ml."""
    case = make_case(np.zeros((4, 4, 8), np.uint8), PROMPTS, SPACING)
    told = prompt_results(PROMPTS, PLAN, result, result.labels, case, {3: ["coarse", "fine"], 7: ["coarse"]})
    assert list(told) == [3, 7, 300]
    assert (told[3].voxels, told[3].volume_ml, told[3].mean_probability) == (8, pytest.approx(0.08), 0.75)
    assert (told[7].voxels, told[7].mean_probability) == (2, 0.75)
    assert (told[3].stages, told[7].stages, told[300].stages) == (("coarse", "fine"), ("coarse",), ())
    assert [o.why for o in told.values()] == ["found", "found too", "not covered"]
    assert [o.covered for o in told.values()] == [True, True, False]
    assert (told[300].voxels, told[300].volume_ml, told[300].mean_probability) == (0, 0.0, None)
    assert told[3].objects is None


def test_objects_are_counted_by_prompt_as_they_are_written(result: LabelMap) -> None:
    """One of prompt 7's two objects was dropped: it counts neither as object nor as voxel."""
    objects = np.zeros((4, 4, 8), np.uint8)
    objects[0:2, 0:2, 0:2], objects[3, 3, 5] = 1, 2
    case = make_case(np.zeros((4, 4, 8), np.uint8), PROMPTS, SPACING, instance=True)
    told = prompt_results(PROMPTS, PLAN, result, objects, case, {})
    assert [(o.voxels, o.objects) for o in told.values()] == [(8, 1), (1, 1), (0, None)]


def test_a_stage_reports_its_grid_in_millimetres() -> None:
    view = View((0.0, 0.0, 0.0), (1.0, 2.0, 4.0), (4, 16, 32), 2, 0)
    done = StageResult(view, np.zeros((1, 4, 16, 32)), np.zeros((1, 4)), 6, 2, 1.5, "because", 3)
    told = stage_report("fine", ["liver", "spleen"], done, SPACING, 123.0)
    assert (told.name, told.stage, told.targets) == ("fine liver, spleen", "fine", ("liver", "spleen"))
    assert (told.spacing_dhw_mm, told.grid) == ((5.0, 4.0, 4.0), (4, 16, 32))
    assert (told.windows, told.skipped, told.seconds, told.peak_mb, told.why) == (6, 2, 1.5, 123.0, "because")
