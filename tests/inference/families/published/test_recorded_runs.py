"""Whole runs of the published code through the engine, with the converted networks of the fixtures."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the networks of the fixtures are converted with torch")
pytest.importorskip("onnx", reason="conversion writes ONNX graphs")

from benchmarks.recorded import RecordedRun, as_recorded, converted, recorded_runs, segment  # noqa: E402
from vesal.inference.stages.segmentation import Segmentation  # noqa: E402

pytestmark = pytest.mark.slow
SEMANTIC, OBJECTS, THIN, LONG, SAT = CASES = (
    "us_soleus_skip2",
    "micro_instance",
    "spinal_canal_iter0",
    "pet_lesion",
    "CT_case",
)
MOST = {"medal-s": 5, "sat": 10}
"""Voxels of a map that rounding may change."""
MOST_OF_LONG = 10
"""Of the long run 8 differ, where 5 are wanted, and as many with the networks in float64 (`python -m
benchmarks.recorded SHARED --float64`): the recording has rounding in it. One voxel of its coarse result lies
within 1e-6 of the threshold and falls on the other side, which changes the prompts of fine windows."""


@pytest.fixture(scope="module")
def recorded(shared, tmp_path_factory):
    """Name of a case -> its recording, and its result with or without the recorded blocks, each run once."""
    if not (shared / "fixtures/medals/e2e").is_dir():
        pytest.skip("no whole runs in `shared`")
    runs = {run.name: run for run in recorded_runs(shared)}
    folder = tmp_path_factory.mktemp("converted")

    @lru_cache
    def weights(system: str) -> Path:
        return converted(shared, system, folder / system)

    @lru_cache
    def result(name: str, injected: bool) -> tuple[RecordedRun, Segmentation]:
        run = runs[name]
        as_recorded(weights(run.system), run.case.sentences.values())
        return run, segment(weights(run.system), run, run.masks if injected else None)

    return result


@pytest.mark.parametrize("name", CASES)
def test_the_final_map_is_the_recorded_one(recorded, name):
    run, result = recorded(name, True)
    wanted = run.labels
    assert result.labels.shape == wanted.shape
    assert np.count_nonzero(result.labels != wanted) <= (MOST_OF_LONG if name == LONG else MOST[run.system])
    assert result.fallbacks == []


@pytest.mark.parametrize("name", [SEMANTIC, OBJECTS, THIN, SAT])
def test_the_decisions_are_the_recorded_ones_whatever_blocks_are_drawn(recorded, name):
    assert_decisions(*recorded(name, False))


def test_the_decisions_of_the_long_run_are_the_recorded_ones(recorded):
    """120 windows: run once, with the recorded blocks."""
    assert_decisions(*recorded(LONG, True))


def assert_decisions(run: RecordedRun, result: Segmentation) -> None:
    """Stages, grids, windows and the region are those of the trace."""
    trace = run.trace
    calls = trace.get("calls") or [{"read": sat_read(trace)}]
    assert len(result.stages) == len(calls)
    for report, call in zip(result.stages, calls, strict=True):
        read = call["read"]
        h, w, d = read["current_shape"]
        assert report.grid == (d, h, w)
        assert (report.windows, report.skipped) == (len(read["idx"]), 0)
    (probability, view), *_ = result.probabilities[1]
    low, high = (calls[-1].get("roi") or whole_of(run))[0::2], (calls[-1].get("roi") or whole_of(run))[1::2]
    assert [view.first(axis) for axis in range(3)] == low
    assert [view.first(axis) + n - 1 for axis, n in enumerate(view.sampling.source)] == high
    read = calls[-1]["read"]
    h, w, d = (n - p for n, p in zip(read["current_shape"], read["padding"], strict=True))
    assert probability.shape == (d, h, w)


def sat_read(trace: dict) -> dict:
    """SAT's trace in the words of Medal S's."""
    return {"current_shape": trace["current"], "padding": trace["padding"], "idx": trace["idx"]}


def whole_of(run: RecordedRun) -> list[int]:
    """The whole volume as a region: first and last voxel of each axis."""
    return [bound for n in run.labels.shape for bound in (0, n - 1)]
