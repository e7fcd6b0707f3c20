"""Text prompts on SPAD-ViT as a weights folder: a graph of every degree computes what the network does."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="export needs torch")

from vesal.inference.families.registry import check_profile  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.runtime.choice import choose_runtime  # noqa: E402
from vesal.networks.nano import TEXT  # noqa: E402
from vesal.networks.spad_prompted import HIGHEST_DEGREE, PromptedSizes, SpadPrompted  # noqa: E402
from vesal.networks.spad_vit import SpadVitSizes  # noqa: E402
from vesal.training.export import INPUTS, OneDegree  # noqa: E402
from vesal.training.export_spad import BANK, export_prompted, manifest_of, rounded  # noqa: E402

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning"
)  # of the exporter that is chosen on purpose

SMALL = PromptedSizes(SpadVitSizes(3, 16, 24, 3, 2, positions_dhw=(2, 4, 4)), (0, 1, 2), (8, 8, 16, 16))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[SpadPrompted, Path]:
    """A thin network and its folder."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = SpadPrompted(SMALL)
    with torch.no_grad():
        network.to_bias.bias.zero_()
    model = rounded(network.state_dict(), SMALL)
    folder = tmp_path_factory.mktemp("spad")
    np.savez(folder / BANK, names=np.array(["liver"]), vectors=np.ones((1, TEXT), np.float16))
    listed = [{"concept": "liver", "side": None, "modality": "CT"}]
    export_prompted(model, folder / BANK, folder / "out", manifest_of("made", listed, "none"))
    return model, folder / "out"


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("degree", range(HIGHEST_DEGREE + 1))
def test_a_graph_computes_what_the_network_does(
    exported: tuple[SpadPrompted, Path], runtime: str, degree: int
) -> None:
    """At shapes and numbers of prompts other than the traced ones."""
    model, folder = exported
    rng = np.random.default_rng(degree)
    shape = (3 * 16 >> degree, 64, 32)
    given = {
        "image": rng.normal(size=(1, 2, *shape)).astype(np.float32),
        "prompt": rng.random((1, 3, *shape)).round().astype(np.float32),
        "text": rng.normal(size=(1, 3, TEXT)).astype(np.float32),
        "side": np.arange(3)[None],
        "modality": np.arange(3)[None],
    }
    with torch.no_grad():
        wanted = OneDegree(model, degree)(*(torch.from_numpy(given[name]) for name in INPUTS))
    came = choose_runtime(runtime, threads=1).load(folder / f"degree{degree}.onnx", "fp32")(given)
    probability, presence = (value.numpy() for value in wanted)
    assert came["probability"].shape == (1, 3, *shape)
    assert 0.02 < (probability > 0.5).mean() < 0.98  # else the next lines say nothing
    np.testing.assert_allclose(came["probability"], probability, atol=1e-4)
    np.testing.assert_allclose(came["presence"], presence, atol=1e-4)


def test_the_folder_is_one_of_the_family(exported: tuple[SpadPrompted, Path]) -> None:
    _, folder = exported
    profile = read_profile(folder)
    assert check_profile(profile).highest_degree == HIGHEST_DEGREE
    assert [stage.layout.degree_ratios for stage in profile.stages] == [(1.7, 3.0, 8.0, 16.0)] * 2
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert sorted(files) == sorted(
        p.name for p in folder.iterdir() if p.name[0] != "." and p.name != "manifest.json"
    )
