"""SegVol on a clock that its graphs move: windows that are kept encoded, and zoom-in in the time there is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the graphs are written with onnx")
pytest.importorskip("onnxruntime", reason="the graphs are run")

from tests.inference.fake_models import Saved, made_image, make_case, make_prompt  # noqa: E402
from tests.inference.families.test_segvol import grey_of  # noqa: E402
from tests.samples.segvol_weights import write_segvol_weights  # noqa: E402
from vesal.inference.data.user_prompts import UserPrompts, VoxelBox  # noqa: E402
from vesal.inference.engine import Engine  # noqa: E402
from vesal.inference.families.registry import open_model  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.runtime.choice import choose_runtime  # noqa: E402
from vesal.inference.stages import case_run  # noqa: E402
from vesal.inference.stages.segmentation import Segmentation  # noqa: E402
from vesal.inference.timing.clock import Clock  # noqa: E402
from vesal.inference.timing.forecast import CostEstimate, Forecast  # noqa: E402

SHAPE = (24, 200, 200)
PROMPTS = 15
ENCODING_S, DECODING_S = 0.5, 0.05
ZOOM_OUT_S = ENCODING_S + PROMPTS * DECODING_S


def made_boxes() -> dict[int, tuple[VoxelBox, ...]]:
    """As many organs as a case of AMOS has, of many sizes, side by side and one in another."""
    random = np.random.default_rng(0)
    boxes: dict[int, tuple[VoxelBox, ...]] = {}
    for id_ in range(1, PROMPTS + 1):
        first = (int(random.integers(2, 8)), *map(int, random.integers(4, 110, 2)))
        size = (int(random.integers(8, 14)), *map(int, random.integers(40, 80, 2)))
        boxes[id_] = (VoxelBox(first, tuple(a + n for a, n in zip(first, size, strict=True))),)
    return boxes


BOXES = made_boxes()


def made_volume() -> np.ndarray:
    """All boxes filled, on the levels that the graphs know."""
    parts = [tuple(map(slice, box.start, box.stop)) for (box,) in BOXES.values()]
    volume = made_image(SHAPE, *((part, grey_of(0.75)) for part in parts), background=10)
    volume[0, :6, :90], volume[0, 6:12, :90] = 100, 240
    return volume


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete folder."""
    return write_segvol_weights(tmp_path_factory.mktemp("segvol") / "weights")


def run(
    weights: Path, budget_s: float, named: bool = True, measure_s: float = 0.0
) -> tuple[Segmentation, SimpleNamespace]:
    """The case on a clock that goes on by what its calls take; when it ends, and how often it called."""
    profile, runtime = read_profile(weights), choose_runtime("onnxruntime", 1)
    engine, told = Engine(profile, runtime, open_model(profile, runtime)), SimpleNamespace(at=0.0, calls={})
    stage: Any = engine.model.stage("zoom-in")
    network = stage._network

    def slow(name: str, graph: Any, seconds: float) -> Any:
        def called(inputs: dict[str, np.ndarray]) -> Any:
            told.at += seconds
            told.calls[name] = told.calls.get(name, 0) + 1
            return graph(inputs)

        return called

    network._image = slow("image", network._image, ENCODING_S)
    network._decoder = slow("decoder", network._decoder, DECODING_S)
    measure = engine.model.measure

    def slow_measure(image: np.ndarray) -> Any:
        told.at += measure_s
        return measure(image)

    engine.model.measure = slow_measure
    unnamed: dict[str, Any] = {} if named else {"text": ""}
    prompts = [make_prompt(id_, "liver" if named else None, **unnamed) for id_ in BOXES]
    case = replace(make_case(made_volume(), prompts), user=UserPrompts(boxes=BOXES))
    found = engine.segment(case, prompts, Clock(budget_s, 0.0, lambda: told.at), Saved())
    return found, told


def refined(found: Segmentation) -> int:
    """Prompts that zoom-in was run for."""
    return sum(result.stages == ("zoom-out", "zoom-in") for result in found.prompts.values())


def test_with_time_all_is_run_and_the_forecast_counts_what_is_encoded(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After two windows of each kind are measured, what is said to be left is what it then takes."""
    forecasts: list[tuple[float, float]] = []
    needs = Forecast.needs_s

    def noted(self: Forecast, estimates: list[CostEstimate]) -> float:
        needed = needs(self, estimates)
        forecasts.append((self.now(), needed))
        return needed

    monkeypatch.setattr(Forecast, "needs_s", noted)
    found, told = run(weights, 1000.0)
    assert not found.ladder and refined(found) == PROMPTS
    windows = sum(stage.windows for stage in found.stages)
    assert told.calls["image"] < windows, "some windows are kept of other prompts"
    known = [(at, needed) for at, needed in forecasts if at > ZOOM_OUT_S + ENCODING_S + DECODING_S]
    assert len(known) > PROMPTS
    np.testing.assert_allclose([at + needed for at, needed in known], told.at, atol=ENCODING_S + DECODING_S)


@pytest.mark.parametrize(
    ("budget_s", "least"), [(60.0, PROMPTS), (40.0, 12), (20.0, 5), (12.0, 3), (8.0, 2), (5.0, 1), (1.9, 0)]
)
def test_zoom_in_is_run_for_as_many_prompts_as_there_is_time_for(
    weights: Path, budget_s: float, least: int
) -> None:
    """What does not fit as a whole is run view by view, and hardly any window in vain."""
    found, told = run(weights, budget_s)
    assert told.at <= budget_s
    assert refined(found) >= least
    assert np.isin(list(BOXES), found.labels).mean() > 0.8, "boxes that lie in others may lose all to them"
    taken = [step.step for step in found.ladder]
    of_all = f"fine stage only for as many views as there was time for: {refined(found)} of {PROMPTS}"
    of_others = "fine stage only where the coarse stage was uncertain, and for "
    if least == PROMPTS:
        assert taken == ["overlap 0.25", "overlap 0"]
    elif least:
        assert taken[:2] == ["overlap 0.25", "overlap 0"]
        assert taken[-1] == of_all or taken[-1].startswith(of_others)
    else:
        assert taken[-1] == "coarse only" and refined(found) == 0
    late = [text for text in found.fallbacks if text.startswith("time ran short, not refined")]
    assert sum(text.count("liver") for text in late) == PROMPTS - refined(found)
    windows = sum(stage.windows for stage in found.stages if stage.stage == "zoom-in")
    assert told.calls["decoder"] <= PROMPTS + windows + 2, "begun anew on another grid at most twice"


def test_no_view_is_begun_that_cannot_be_finished(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[int, int]] = []
    run_refining = case_run.run_refining

    def noted(*given: Any) -> Any:
        result = run_refining(*given)
        ran.append((result.windows, result.dropped))
        return result

    monkeypatch.setattr(case_run, "run_refining", noted)
    run(weights, 8.0)
    assert ran and all(windows and not dropped for windows, dropped in ran), ran


@pytest.mark.parametrize(("budget_s", "searched"), [(1000.0, True), (12.0, False)])
def test_a_search_for_names_does_not_cost_the_result(weights: Path, budget_s: float, searched: bool) -> None:
    """It looks at the volume once more, which no forecast knows; the result is there before."""
    found, told = run(weights, budget_s, named=False, measure_s=2.0)
    assert told.at <= budget_s
    assert any(result.candidates for result in found.prompts.values()) is searched
    assert any("it was not found out what" in note for note in found.notes) is not searched
    assert found.labels.any()
