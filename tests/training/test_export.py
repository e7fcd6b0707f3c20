"""The exported graphs beside the network that they were made of."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="export needs torch")
pytest.importorskip("onnx", reason="export writes with onnx")

from tests.training.made import rule  # noqa: E402
from vesal.inference.data.terms import MODALITIES  # noqa: E402
from vesal.inference.families.nano import SIDE_CODES  # noqa: E402
from vesal.inference.geometry.fit import fit_view  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.planning.weights_folder import WEIGHTS  # noqa: E402
from vesal.inference.runtime.choice import choose_runtime  # noqa: E402
from vesal.networks.nano import TEXT, Nano  # noqa: E402
from vesal.training.bank import read_bank  # noqa: E402
from vesal.training.export import INPUTS, OneDegree, export, load_average, sha256  # noqa: E402
from vesal.training.store import read_volume  # noqa: E402
from vesal.training.views import build  # noqa: E402
from vesal.training.warm import warm_start  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning"
)  # of the exporter that is chosen on purpose

INSTALLED = [name for name in ("openvino", "onnxruntime") if importlib.util.find_spec(name)]
SHAPES = {0: [(16, 16, 48), (32, 16, 16)], 1: [(8, 32, 16), (24, 16, 16)], 2: [(4, 16, 32), (12, 32, 16)]}
"""None of them is the shape that the graphs were traced with."""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Nano, Path]:
    """The network of full size as it is shipped, and the folder with its export and a manifest."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    work, out = tmp_path_factory.mktemp("work"), tmp_path_factory.mktemp("out")
    model = Nano()
    with torch.no_grad():  # masks with something above and something below one half
        model.to_bias.bias.zero_()
        model.to_mask[2].weight.mul_(4)
    other = {k: v + 1 for k, v in model.state_dict().items()}
    torch.save({"average": model.state_dict(), "model": other}, work / "checkpoint.pt")
    np.savez(work / "bank.npz", names=np.array(["liver"]), vectors=np.ones((1, TEXT), np.float16))
    names = ("bank.npz", "degree0.onnx", "degree1.onnx", "degree2.onnx", "weights.bin")
    files = {name: {"sha256": "0" * 64} for name in names}
    (out / "manifest.json").write_text(json.dumps({"name": "made", "files": files}))
    export(work, out)
    return load_average(work / "checkpoint.pt"), out


def inputs(shape: tuple[int, int, int], prompts: int) -> dict[str, np.ndarray]:
    """Inputs of one view; the first prompt is a box."""
    rng = np.random.default_rng(0)
    prompt = np.zeros((1, prompts, *shape), np.float32)
    prompt[:, 0, 1:-1, 4:9, 4:9] = 1
    return {
        "image": rng.normal(size=(1, 2, *shape)).astype(np.float32),
        "prompt": prompt,
        "text": rng.normal(size=(1, prompts, TEXT)).astype(np.float32),
        "side": np.arange(prompts, dtype=np.int64)[None] % 3,
        "modality": np.arange(prompts, dtype=np.int64)[None] % 5,
    }


@pytest.mark.parametrize("runtime", INSTALLED)
@pytest.mark.parametrize("degree", [0, 1, 2])
def test_a_graph_computes_what_the_network_does(
    exported: tuple[Nano, Path], runtime: str, degree: int
) -> None:
    """At shapes and numbers of prompts other than the traced ones."""
    model, folder = exported
    graph = choose_runtime(runtime, threads=1).load(folder / f"degree{degree}.onnx", "fp32")
    for shape, prompts in zip(SHAPES[degree], (4, 3), strict=True):
        given = inputs(shape, prompts)
        with torch.no_grad():
            expected = OneDegree(model, degree)(*(torch.from_numpy(given[name]) for name in INPUTS))
        came = graph(given)
        probability, presence = (t.numpy() for t in expected)
        assert came["probability"].shape == (1, prompts, *shape)
        assert 0.02 < (probability > 0.5).mean() < 0.98  # else the next lines say nothing
        assert np.abs(came["probability"] - probability).max() < 1e-4
        assert ((came["probability"] > 0.5) == (probability > 0.5)).mean() > 0.999
        assert np.abs(came["presence"] - presence).max() < 1e-4


SHIPPED = WEIGHTS / "nano"
REAL = {0: "CT_HeadNeck", 1: "MR_Prostate", 2: "MR_Heart_ACDC"}
"""A set for each degree of anisotropy."""


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("degree", list(REAL))
def test_the_shipped_graphs_give_on_a_real_view_what_the_network_gives(
    shared: Path, degree: int, precision: str
) -> None:
    """The same class, or none, in more than 99.9 % of the voxels of a coarse view."""
    runtime = choose_runtime("openvino", threads=1)
    if precision == "bf16" and runtime.precision != "bf16":
        pytest.skip("this processor has no bf16")
    torch.set_num_threads(1)
    model = Nano()
    assert warm_start(model, SHIPPED) == []
    volume = read_volume(sorted((shared / "data/val" / REAL[degree]).glob("*.npz"))[0])
    view = fit_view(volume.body, volume.spacing_dhw_mm, 60**3)
    assert view.degree == degree
    targets, bank = volume.targets, read_bank(SHIPPED / "bank.npz")
    item = build(volume, view, "coarse", targets, None, rule(), None)
    given = {
        "image": item.image.numpy(),
        "prompt": item.prompt.numpy(),
        "text": np.stack([bank[t.concept] for t in targets])[None],
        "side": np.array([[SIDE_CODES.index(t.side) for t in targets]], np.int64),
        "modality": np.array([[MODALITIES.index(t.modality) for t in targets]], np.int64),
    }
    with torch.no_grad():
        wanted = OneDegree(model.eval(), degree)(*(torch.from_numpy(given[n]) for n in INPUTS))[0][0].numpy()
    found = runtime.load(SHIPPED / f"degree{degree}.onnx", precision)(given)["probability"][0]

    def classes(probability: np.ndarray) -> np.ndarray:
        return np.where(probability.max(0) > 0.5, probability.argmax(0) + 1, 0)

    assert (classes(wanted) > 0).mean() > 0.002  # else the next line says nothing
    assert (classes(found) == classes(wanted)).mean() > 0.999


def test_the_three_graphs_share_one_file_of_two_bytes_a_parameter(exported: tuple[Nano, Path]) -> None:
    model, folder = exported
    parameters = sum(p.numel() for p in model.parameters())
    size = (folder / "weights.bin").stat().st_size
    assert 0.99 < size / (2 * parameters) < 1.01
    assert all((folder / f"degree{d}.onnx").stat().st_size < 300_000 for d in range(3))


def test_nothing_but_the_weights_is_left(exported: tuple[Nano, Path]) -> None:
    expected = {"bank.npz", "manifest.json", "weights.bin", *(f"degree{d}.onnx" for d in range(3))}
    assert {p.name for p in exported[1].iterdir()} == expected


def test_the_averaged_weights_are_shipped_rounded_to_fp16(exported: tuple[Nano, Path]) -> None:
    torch.manual_seed(0)
    drawn = Nano().stem.weight  # the checkpoint's other weights are larger by 1
    assert torch.equal(exported[0].stem.weight, drawn.half().float())
    assert not exported[0].training


def test_the_manifest_gets_the_digests_of_its_files_and_keeps_the_rest(exported: tuple[Nano, Path]) -> None:
    folder = exported[1]
    content = json.loads((folder / "manifest.json").read_text())
    assert content["name"] == "made"
    assert len(content["files"]) == 5
    for name, entry in content["files"].items():
        assert entry["sha256"] == sha256(folder / name) != "0" * 64


def test_sha256_of_known_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(tmp_path / "abc") == expected


def test_a_new_folder_gets_the_same_bytes_and_rules_without_scores(
    exported: tuple[Nano, Path], tmp_path: Path
) -> None:
    model, folder = exported
    torch.save({"average": model.state_dict()}, tmp_path / "checkpoint.pt")
    np.savez(tmp_path / "bank.npz", names=np.array(["liver"]))
    export(tmp_path, tmp_path / "mine")
    for name in ("weights.bin", "degree0.onnx", "degree1.onnx", "degree2.onnx"):
        assert sha256(tmp_path / "mine" / name) == sha256(folder / name)
    profile = read_profile(tmp_path / "mine")
    assert profile.name == "mine" and profile.stage("coarse").window_voxels > 0
    assert profile.targets and all(target.dsc is None for target in profile.targets)


@pytest.mark.parametrize("spad", [True, False])
def test_a_network_that_was_trained_without_degrees_is_never_run_with_them(
    tmp_path: Path, spad: bool
) -> None:
    state = {"average": Nano((8, 8, 16, 16)).state_dict(), "plan": {"ideas": {"spad": spad}}}
    torch.save(state, tmp_path / "checkpoint.pt")
    np.savez(tmp_path / "bank.npz", names=np.array(["liver"]), vectors=np.ones((1, TEXT), np.float16))
    export(tmp_path, tmp_path / "out")
    profile = read_profile(tmp_path / "out")
    assert [rule.layout.degrees for rule in profile.stages] == [spad, spad]
