"""Recorded runs of SegVol's public code with its reduced network, through the whole engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the recorded network is exported with torch")
onnx = pytest.importorskip("onnx", reason="graphs are written with onnx")
pytest.importorskip("onnxruntime", reason="the graphs are run")

from tests.inference.fake_models import FAKE_RUNTIME, Saved, make_case, make_prompt  # noqa: E402
from tests.inference.families.segvol import recorded  # noqa: E402
from tests.inference.families.segvol.recorded import read_runs, read_volumes  # noqa: E402
from tests.inference.families.segvol.test_recorded_zoom import RecordedModel  # noqa: E402
from tests.networks.recorded_segvol import read_recorded, recorded_network  # noqa: E402
from vesal.inference.data.user_prompts import Point, UserPrompts  # noqa: E402
from vesal.inference.engine import Engine  # noqa: E402
from vesal.inference.families.segvol import case_plan, family  # noqa: E402
from vesal.inference.families.segvol.fields import NetworkFacts  # noqa: E402
from vesal.inference.families.segvol.network import GraphNetwork  # noqa: E402
from vesal.inference.families.segvol.prompts import Marked  # noqa: E402
from vesal.inference.families.segvol.stage import Texts, ZoomStage  # noqa: E402
from vesal.inference.geometry.nearest import nearest_exact  # noqa: E402
from vesal.inference.runtime.onnx import OnnxRuntime  # noqa: E402
from vesal.inference.timing.clock import Clock  # noqa: E402
from vesal.weights.convert.segvol_graphs import segvol_graphs  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore:.*:UserWarning"
)
TOLERANCE = 1e-4
"""Of the range of what was recorded."""


class NetworkModel(RecordedModel):
    """The family with the recorded text of a liver."""

    def __init__(self, stage: ZoomStage, vector: np.ndarray) -> None:
        super().__init__(stage)
        self._vector = vector

    def encode_prompts(self, queries: Any) -> Texts:
        """The liver, whatever is asked."""
        return Texts((self._vector,) * len(queries), tuple(query.name for query in queries))


@pytest.fixture(scope="module")
def graph(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """The graphs of the recorded network, by role."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("graphs")
    for role, model in segvol_graphs(recorded_network(shared), folder / "exported.onnx").items():
        onnx.save(model, str(folder / f"{role}.onnx"))
    return lambda role: OnnxRuntime(1, "a test").load(folder / f"{role}.onnx", "fp32")


def test_logits_of_zoom_in_are_as_recorded(
    shared: Path, graph: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (case_plan, family):
        monkeypatch.setattr(module, "look_at", recorded.as_it_is)
    arrays = read_volumes(shared)
    vector = read_recorded(shared)["text_embedding"][0].numpy()
    runs = [run for run in read_runs(shared, "net") if f"{run.name}_logits" in arrays]
    assert runs
    network = GraphNetwork(
        graph("image"), graph("decoder"), NetworkFacts(recorded.WINDOW, channels=len(vector))
    )
    for run in runs:
        # The box was made of the label; its points are not recorded.
        marked = {"liver": marked_of_label(arrays, run.volume)} if "box" in run.asks else {}
        stage = ZoomStage(network, 8, 4, recorded=marked)
        engine = Engine(recorded.PROFILE, FAKE_RUNTIME, NetworkModel(stage, vector))
        prompt = make_prompt(1, "liver")
        user = UserPrompts(points={1: (Point((0, 0, 0), True),)}) if marked else UserPrompts()
        case = replace(make_case(arrays[f"{run.volume}_image"].astype(np.float32), [prompt]), user=user)
        clock = Clock(600.0, 0.0, lambda: 0.0)
        found = engine.segment(case, [prompt], clock, Saved(), keep_probabilities=True)
        wanted = arrays[f"{run.name}_logits"].astype(np.float64)
        [(kept, view)] = found.probabilities[1]
        assert view.shape == wanted.shape, "the region is the whole volume"
        mine = np.asarray(kept).astype(np.float64)
        logits = np.log(mine / (1 - mine))
        sure = np.abs(wanted) < 6  # beyond, a probability in float32 does not tell the logit
        assert sure.mean() > 0.5
        difference = np.abs(logits - wanted)[sure].max()
        assert difference <= TOLERANCE * np.ptp(wanted), run.name


def marked_of_label(arrays: dict[str, np.ndarray], volume: str) -> Marked:
    """The box that the recorded code makes of the label of a volume."""
    label = arrays[f"{volume}_label"] > 0
    taken = (nearest_exact(m, n) for m, n in zip(recorded.WINDOW, label.shape, strict=True))
    hit = np.argwhere(label[np.ix_(*taken)])
    return Marked((tuple(hit.min(0).tolist()), tuple(hit.max(0).tolist())))
