"""One test over all families, runtimes and precisions, with tiny networks of random weights."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="tiny networks are made with torch")
pytest.importorskip("onnx", reason="graphs are written with onnx")

from tests.inference.fake_models import made_image, make_prompt, segment  # noqa: E402
from tests.samples.biomedparse_weights import write_biomedparse_weights  # noqa: E402
from tests.samples.closed_weights import write_closed_weights  # noqa: E402
from tests.samples.families import SAMPLES  # noqa: E402
from tests.samples.segvol_weights import write_segvol_weights  # noqa: E402
from tests.samples.slice_weights import save_manifest, targets  # noqa: E402
from tests.samples.voxtell_weights import write_voxtell_weights  # noqa: E402
from tests.weights.made import make  # noqa: E402
from vesal.inference.data.errors import RuntimeChoiceError  # noqa: E402
from vesal.inference.data.prompt import Target  # noqa: E402
from vesal.inference.engine import Engine  # noqa: E402
from vesal.inference.families.contract import Family, StageModel  # noqa: E402
from vesal.inference.families.registry import FAMILIES, open_model  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.runtime.choice import Runtime, choose_runtime  # noqa: E402
from vesal.inference.stages.identify import targets_of  # noqa: E402
from vesal.inference.stages.segmentation import Segmentation  # noqa: E402
from vesal.networks.nano import TEXT, Nano  # noqa: E402
from vesal.networks.spad_prompted import PromptedSizes, SpadPrompted  # noqa: E402
from vesal.networks.spad_vit import SpadVitSizes  # noqa: E402
from vesal.training.export import export  # noqa: E402
from vesal.training.export_spad import export_prompted, manifest_of  # noqa: E402
from vesal.weights.convert.__main__ import main as convert  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning"
)  # of the exporter that is chosen on purpose

IMAGE = made_image((24, 40, 40), ((slice(6, 18), slice(8, 30), slice(9, 28)), 200))
SPACING_MM = (2.0, 1.0, 1.0)
PROMPTS = [make_prompt(1, "liver"), make_prompt(2, "spleen", text="Spleen in abdominal CT")]
RUNTIMES = ("openvino", "onnxruntime", "cuda")
PRECISIONS = ("fp32", "bf16")
EQUAL = {"fp32": 0.998, "bf16": 0.95}
"""Share of voxels that have the label of ONNX Runtime in fp32; logits of random networks lie near the
threshold."""


def write_nano(folder: Path) -> Path:
    """A narrow nano, as training exports it."""
    work, folder = folder / "work", folder / "weights"
    for made in (work, folder):
        made.mkdir(parents=True)
    torch.manual_seed(0)
    network = Nano((8, 8, 16, 16)).eval()
    with torch.no_grad():
        network.to_bias.bias.zero_()
    torch.save({"average": network.state_dict(), "model": network.state_dict()}, work / "checkpoint.pt")
    names = np.array([prompt.concept for prompt in PROMPTS])
    vectors = np.random.default_rng(0).normal(size=(2, TEXT)).astype(np.float16)
    np.savez(work / "bank.npz", names=names, vectors=vectors)
    files = ["bank.npz", "degree0.onnx", "degree1.onnx", "degree2.onnx", "weights.bin"]
    (folder / "manifest.json").write_text(json.dumps({"name": "tiny", "files": dict.fromkeys(files, {})}))
    export(work, folder)
    stage = {"window_voxels": 32**3}
    return save_manifest(
        folder,
        files,
        name="tiny-nano",
        family="nano",
        graphs={str(degree): f"degree{degree}.onnx" for degree in range(3)},
        bank="bank.npz",
        stages=[{"name": "coarse", "role": "locate", **stage}, {"name": "fine", "role": "refine", **stage}],
        targets=targets("liver", "spleen"),
    )


def write_spad(folder: Path) -> Path:
    """Text prompts on a narrow SPAD-ViT, as training exports them."""
    torch.manual_seed(0)
    sizes = PromptedSizes(SpadVitSizes(3, 16, 24, 3, 2), (0, 1, 2), (8, 8, 16, 16))
    network = SpadPrompted(sizes).eval()
    with torch.no_grad():
        network.to_bias.bias.zero_()
    folder.mkdir(parents=True)
    names = np.array([prompt.concept for prompt in PROMPTS])
    vectors = np.random.default_rng(0).normal(size=(2, TEXT)).astype(np.float16)
    np.savez(folder / "bank.npz", names=names, vectors=vectors)
    manifest = manifest_of("tiny-spad", targets("liver", "spleen"), "none")
    for stage in manifest["stages"]:
        stage["window_voxels"] = 32**3
    export_prompted(network, folder / "bank.npz", folder / "weights", manifest | {"hybrid": "off"})
    return folder / "weights"


def write_converted(system: str) -> Callable[[Path], Path]:
    """A tiny published system, converted as its checkpoints are."""

    def write(folder: Path) -> Path:
        made = make(folder, system)
        window = "_crop_size_64_64_32_spacing_2.0_2.0_4.0_step_7"
        for option in ("--stage2", "--model"):
            if option in made.arguments:
                place = made.arguments.index(option) + 1
                file = Path(made.arguments[place])
                made.arguments[place] = str(file.rename(file.with_name(f"{file.stem}{window}.pth")))
        assert convert([*made.arguments, "--precision", "fast"]) == 0
        return made.out

    return write


WRITERS: dict[str, Callable[[Path], Path]] = {
    "nano": write_nano,
    "medal-s": write_converted("medal-s"),
    "sat": write_converted("sat"),
    "biomedparse-v": write_biomedparse_weights,
    "segvol": write_segvol_weights,
    "spad": write_spad,
    "voxtell": write_voxtell_weights,
    "closed": write_closed_weights,
    **{name: write for name, (_, write) in SAMPLES.items()},
}


@cache
def opened(name: str) -> Runtime:
    """A runtime; RuntimeChoiceError says why it cannot be had."""
    return choose_runtime(name, 2)


class InPrecision:
    """A runtime in one precision, whatever the profile says."""

    def __init__(self, runtime: Runtime, precision: str) -> None:
        self.runtime, self.precision = runtime, precision

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runtime, name)

    def load(self, path: Path, precision: str | None = None, one_shape: bool | str = False) -> Any:
        """The graph, in the precision of this test; text encoders ask for fp32 themselves."""
        return self.runtime.load(path, precision or self.precision, one_shape)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a family's tiny weights, made once."""
    root = tmp_path_factory.mktemp("families")
    FAMILIES.update({name: place for name, (place, _) in SAMPLES.items()})
    made: dict[str, Path] = {}

    def folder(family: str) -> Path:
        if family not in made:
            made[family] = WRITERS[family](root / family)
        return made[family]

    yield folder
    for name in SAMPLES:
        del FAMILIES[name]


@pytest.mark.parametrize("family", WRITERS)
def test_every_family_has_the_whole_contract(family: str, weights: Callable[[str], Path]) -> None:
    """What is asked of few families only would else be missed in the others."""
    profile = read_profile(weights(family))
    model = open_model(profile, opened("onnxruntime"))
    asked = [name for name in vars(Family) if not name.startswith("_")]
    assert "candidates" in asked
    assert [name for name in asked if not hasattr(model, name)] == []
    first = profile.stages[0].name
    stage = [name for name in vars(StageModel) if not name.startswith("_")]
    assert [name for name in stage if not hasattr(model.stage(first), name)] == []
    told = targets_of(model, profile, "CT")
    assert all(isinstance(target, Target) for target in told)
    assert told or not profile.targets


def run(folder: Path, runtime: str, precision: str) -> Segmentation:
    """The case with one family in one runtime and precision."""
    profile, used = read_profile(folder), InPrecision(opened(runtime), precision)
    engine = Engine(profile, used, open_model(profile, used))
    return segment(engine, IMAGE, PROMPTS, spacing_dhw_mm=SPACING_MM)


def reason_against(runtime: str, precision: str) -> str | None:
    """Why a pair cannot be run here; None where it can."""
    try:
        used = opened(runtime)
    except RuntimeChoiceError as error:
        return str(error)
    if precision == "bf16" and runtime == "onnxruntime":
        return "ONNX Runtime's CPU provider has no bf16 convolutions"
    if precision == "bf16" and used.precision != "bf16":
        return "the processor multiplies no bf16"
    return None


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("family", WRITERS)
def test_every_family_runs_in_every_runtime_and_precision(
    family: str, runtime: str, precision: str, weights: Callable[[str], Path]
) -> None:
    reason = reason_against(runtime, precision)
    if reason is not None:
        pytest.skip(reason)
    first, again = (run(weights(family), runtime, precision) for _ in range(2))
    assert np.array_equal(first.labels, again.labels), "the same bytes each time"
    assert first.labels.shape == IMAGE.shape
    assert all(result.covered for result in first.prompts.values())
    assert not first.fallbacks
    assert first.stages and all(stage.windows for stage in first.stages[:1])
    wanted = run(weights(family), "onnxruntime", "fp32").labels
    assert wanted.any(), "an empty map would agree with anything"
    assert (first.labels == wanted).mean() >= EQUAL[precision]
