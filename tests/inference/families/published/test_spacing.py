"""Grids: every recorded decision of the published code, and what the paper says instead."""

import numpy as np
import pytest

from tests.inference.families.published.recorded import dhw, rows, rules
from vesal.inference.families.published.spacing import (
    plausible_spacing,
    region_spacing_mm,
    separate_axis,
    stage_grid,
)

CODE, PAPER = rules(), rules(paper=True)


def test_all_200_recorded_spacings_are_put_on_the_right_axis(shared):
    recorded = rows(shared, "adjust_spacing")
    assert len(recorded) == 200
    for row in recorded:
        # The recording holds this one step: nothing there is below the least spacing.
        wanted = tuple(float(np.float32(s)) for s in row["out"])
        assert plausible_spacing(row["shape"], row["spacing"], CODE.spacing) == wanted, row


def test_all_560_recorded_grids_are_reproduced(shared):
    recorded = rows(shared, "read_npz_decisions")
    assert len(recorded) == 560
    for row in recorded:
        stage = "coarse" if row["stage1"] else "fine"
        grid = stage_grid(row["shape_dhw"], dhw(row["spacing_hwd"]), row["classes"], stage, CODE)
        assert grid.spacing_mm == dhw(row["spacing"]), row
        assert grid.target_mm == dhw(row["target"]), row
        assert grid.shape == dhw(row["new_shape"]), row
        axis = row["separate_axis"]
        assert grid.separate_axis == (None if axis is None else (1, 2, 0)[axis]), row
        assert (grid.separate_axis is not None) == row["separate_z"], row
        assert CODE.grid(stage).crop == dhw(row["crop"]), row


def test_sub_millimetre_volumes_count_as_one_millimetre():
    both = ["CT_Liver", "CT_Spleen"]
    assert stage_grid((60, 400, 400), (1.0, 0.3, 0.3), both, "fine", CODE).shape[1] == 400


def test_an_axis_that_was_never_measured_gets_a_millimetre():
    assert plausible_spacing((64, 32, 64), (0.05, 2.0, 0.4), CODE.spacing)[0] == 1.0


def test_the_paper_shrinks_a_single_class_too():
    shape, spacing = (360, 360, 360), (2.0, 2.0, 2.0)
    code = stage_grid(shape, spacing, ["CT_Liver"], "fine", CODE)
    paper = stage_grid(shape, spacing, ["CT_Liver"], "fine", PAPER)
    assert max(paper.shape) <= 1.9 * 192 + 1 < min(code.shape)


def test_the_paper_shrinks_to_the_window_and_not_a_tenth_below():
    shape, spacing, both = (300, 300, 300), (2.2, 2.2, 2.2), ["CT_Liver", "CT_Spleen"]
    assert stage_grid(shape, spacing, both, "fine", CODE).shape == (332, 332, 332)
    assert stage_grid(shape, spacing, both, "fine", PAPER).shape == (365, 365, 365)


def test_the_code_forgets_airways_when_it_measures_the_region():
    shape, spacing = (330, 330, 330), (1.0, 1.0, 1.0)
    assert region_spacing_mm(shape, spacing, ["CT_Airways"], CODE) == (1.0, 1.0, 1.0)
    assert region_spacing_mm(shape, spacing, ["CT_Airways"], PAPER)[0] == pytest.approx(1.6 * 192 / 330)


def test_two_equally_long_axes_are_not_separate():
    assert separate_axis((5.0, 1.0, 5.0), (1.0, 1.0, 1.0), 3.0) is None
    assert separate_axis((3.0, 1.0, 1.0), (1.0, 1.0, 1.0), 3.0) is None
    assert separate_axis((3.1, 1.0, 1.0), (1.0, 1.0, 1.0), 3.0) == 0
    assert separate_axis((1.0, 1.0, 1.0), (1.0, 3.5, 1.0), 3.0) == 1


def test_no_class_at_all_is_no_single_class():
    thick = (40, 512, 512), (7.5, 0.8, 0.8)
    assert stage_grid(*thick, [], "fine", CODE).spacing_mm[0] == 7.5
    assert stage_grid(*thick, ["CT_Liver"], "fine", CODE).spacing_mm[0] < 7.5
