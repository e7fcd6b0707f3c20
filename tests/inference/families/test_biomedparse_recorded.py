"""Recorded runs of the public code of BiomedParse-V through the whole engine, with its reduced network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the recorded network is exported with torch")
onnx = pytest.importorskip("onnx", reason="graphs are written with onnx")
pytest.importorskip("onnxruntime", reason="the graphs are run")

from tests.inference.fake_models import FAKE_RUNTIME, make_prompt, segment  # noqa: E402
from tests.networks.recorded_biomedparse_v import FOLDER, read_weights, shapes_of  # noqa: E402
from tests.samples.biomedparse_weights import write_tokenizer  # noqa: E402
from tests.samples.slice_weights import save_manifest  # noqa: E402
from vesal.inference.engine import Engine  # noqa: E402
from vesal.inference.families.biomedparse.sentences import Sentences  # noqa: E402
from vesal.inference.families.registry import open_model  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.runtime.choice import choose_runtime  # noqa: E402
from vesal.inference.stages.segmentation import Segmentation  # noqa: E402
from vesal.networks.biomedparse_v import BiomedParseV, biomedparse_sizes_of  # noqa: E402
from vesal.weights.convert.biomedparse_graphs import biomedparse_graphs  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning", "ignore:.*:UserWarning"
)

Arrays = dict[str, np.ndarray]
LAYOUT = {"kind": "square-slices", "side": 512, "run": 1}
STAGES = [
    {"name": "slices", "role": "locate", "window_voxels": 512**2, "skip_empty": False, "layout": LAYOUT}
]
TOLERANCE = 1e-4
"""Of the range of a recorded array."""


@pytest.fixture(scope="module")
def folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded network as a folder of weights."""
    folder = tmp_path_factory.mktemp("recorded")
    tensors = read_weights(shared, "")
    network = BiomedParseV(biomedparse_sizes_of(shapes_of(tensors), heads=4))
    network.load_state_dict(tensors)
    names = []
    for name, graph in biomedparse_graphs(network.eval(), folder / "trace.onnx").items():
        onnx.save(graph, str(folder / f"{name}.onnx"))
        names.append(f"{name}.onnx")
    write_tokenizer(folder / "tokenizer.json")
    return save_manifest(
        folder,
        [*names, "tokenizer.json"],
        name="recorded",
        family="biomedparse-v",
        graphs={name.removesuffix(".onnx"): name for name in names},
        tokenizer="tokenizer.json",
        network={"heads": 4},
        attention="full",
        stages=STAGES,
        postprocess=[{"rule": "slices"}],
        targets=[],
    )


@pytest.fixture(scope="module")
def stored(shared: Path) -> Arrays:
    """All recorded arrays."""
    with np.load(shared / FOLDER / "e2e.npz") as file:
        return dict(file)


class Recorder:
    """A runtime that keeps what the decoder gave for each slice, and shifts it as the recording was shifted
    before it was made into labels.
    """

    def __init__(self, stored: Arrays, case: str) -> None:
        self.stored, self.case = stored, case
        self.masks: list[np.ndarray] = []
        self.existence: list[np.ndarray] = []
        self._runtime = choose_runtime("onnxruntime", 2)

    def load(self, path: Path, precision: str | None = None, one_shape: bool = False) -> Any:
        """A graph; the decoder's answers are kept and shifted."""
        graph = self._runtime.load(path, "fp32", one_shape)
        return graph if not path.stem.startswith("decoder") else lambda inputs: self._shifted(graph(inputs))

    def _shifted(self, found: Arrays) -> Arrays:
        at = slice(len(self.masks), len(self.masks) + found["mask"].shape[1])
        for column in range(at.stop - at.start):
            self.masks.append(found["mask"][:, column])
            self.existence.append(found["existence"][:, column])
        stored, case = self.stored, self.case
        more = (stored[f"{case}_existence_shifted"] - stored[f"{case}_existence"])[:, at]
        shift = stored[f"{case}_pg_shift"][:, None, None, None]
        return found | {"mask": found["mask"] - shift, "existence": found["existence"] + more}


@pytest.fixture(params=["a", "b"])
def case(request: pytest.FixtureRequest, stored: Arrays, monkeypatch: pytest.MonkeyPatch) -> str:
    """A recorded case; its sentences have the recorded token ids, which are no tokenizer's."""
    name: str = request.param
    if f"{name}_imgs" not in stored:
        pytest.skip(f"case {name} is not among the recordings here")
    ids, mask = stored[f"{name}_input_ids"], stored[f"{name}_attention_mask"]
    rows = {text_of(id_): n for n, id_ in enumerate(stored[f"{name}_ids"])}
    monkeypatch.setattr(Sentences, "ids", lambda self, text: (ids[rows[text]], int(mask[rows[text]].sum())))
    return name


def text_of(id_: int) -> str:
    return f"target {id_} in CT"


def run(folder: Path, stored: Arrays, case: str) -> tuple[Recorder, Segmentation]:
    """A recorded case through the engine."""
    profile, runtime = read_profile(folder), Recorder(stored, case)
    engine = Engine(profile, FAKE_RUNTIME, open_model(profile, runtime))
    prompts = [make_prompt(int(id_), None, text=text_of(id_)) for id_ in stored[f"{case}_ids"]]
    return runtime, segment(engine, stored[f"{case}_imgs"], prompts)


def test_logits_and_labels_of_whole_runs(folder: Path, stored: Arrays, case: str) -> None:
    recorder, result = run(folder, stored, case)
    for ours, recorded in (
        (np.stack(recorder.masks, 1), stored[f"{case}_pred_gmasks"]),
        (np.stack(recorder.existence, 1), stored[f"{case}_existence"]),
    ):
        assert ours.shape == recorded.shape
        assert np.abs(ours - recorded).max() <= TOLERANCE * np.ptp(recorded)
    wanted = stored[f"{case}_seg"]
    assert wanted.any(), "an empty map would agree with anything"
    assert np.array_equal(result.labels, wanted)
