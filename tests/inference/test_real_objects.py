"""Objects of real cases with the default weights: as many as there are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vesal.evaluation.metrics import score_instances
from vesal.inference.api import Model, load
from vesal.postprocess.instances import split_instances
from vesal.training.measure.runs import parse, read_labelled, run_case

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def nano() -> Model:
    return load("nano")


def test_all_nuclei_of_a_validation_volume_are_found_and_no_other(shared: Path, nano: Model) -> None:
    """Sixteen, of which two touch, and a speck."""
    path = shared / "data/val/Microscopy_Nuclei/Microscopy_Nuclei_qcanet-16cell.npz"
    labelled = read_labelled(path)
    run = run_case(nano, labelled.case, labelled.prompts, 600.0)
    assert score_instances(run.labels, split_instances(labelled.truth)).f1 == 1.0
    assert run.labels.max() == 16


def test_two_kidneys_are_two_objects(shared: Path, nano: Model) -> None:
    """They were seven: specks were objects."""
    name = "CT_AMOS_amos_0018.npz"
    labelled = read_labelled(shared / "cases/imgs" / name, shared / "cases/gts" / name)
    case = replace(labelled.case, sentences={1: "kidneys in CT"}, instance=True)
    run = run_case(nano, case, parse(case, case.sentences), 600.0)
    assert run.result.prompts[1].objects == 2 == run.labels.max()
    both = np.isin(labelled.truth, [2, 3])
    assert np.count_nonzero(both & (run.labels > 0)) > 0.8 * np.count_nonzero(both)
