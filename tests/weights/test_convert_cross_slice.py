"""The converter's option for slices that see each other: graphs, manifest, and what the family says."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="published files are converted with torch")
pytest.importorskip("onnx", reason="conversion writes ONNX graphs")

from tests.weights.made_biomedparse_v import convert_arguments  # noqa: E402
from vesal.inference.data.cross_slice import CrossSlice  # noqa: E402
from vesal.inference.data.errors import ProfileError  # noqa: E402
from vesal.inference.families.registry import check_profile  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.runtime.onnx import OnnxRuntime  # noqa: E402
from vesal.networks.biomedparse_v import BiomedParseV  # noqa: E402
from vesal.weights.convert import __main__ as command  # noqa: E402
from vesal.weights.convert.formats import open_weights  # noqa: E402
from vesal.weights.convert.keymap import load  # noqa: E402
from vesal.weights.convert.systems.biomedparse_v import BIOMEDPARSE  # noqa: E402


@pytest.fixture(scope="module")
def arguments(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command that converts the reduced network, without the option."""
    torch.set_num_threads(1)
    return convert_arguments(shared, tmp_path_factory.mktemp("crossed"))


@pytest.fixture(scope="module")
def converted(arguments: list[str]) -> Path:
    """The folder that the command wrote for one head that looks a slice ahead."""
    assert command.main([*arguments, "--cross-slice", "1", "1"]) == 0
    return Path(arguments[arguments.index("--out") + 1])


def test_the_manifest_says_how_slices_see_each_other(converted: Path) -> None:
    told = json.loads((converted / "manifest.json").read_text())
    assert told["cross_slice"] == told["network"]["cross_slice"] == {"heads": 1, "offset": 1}
    assert told["network"]["agreement"]["fp32"]["worst"] < 1e-4


@torch.no_grad()
def test_the_graphs_are_those_of_the_network_that_looks_across(arguments: list[str], converted: Path) -> None:
    network: BiomedParseV = load(open_weights(Path(arguments[2])), BIOMEDPARSE.network)
    image = np.random.default_rng(0).uniform(0, 255, (3, 3, 64, 64)).astype(np.float32)
    found = OnnxRuntime(1, "a test").load(converted / "image.onnx")({"image": image})["key_0"]
    plain = network.encode(torch.from_numpy(image)).keys[0].numpy()
    network.look_across(CrossSlice(1, 1))
    crossed = network.encode(torch.from_numpy(image)).keys[0].numpy()
    # The last slice has none behind it.
    assert np.abs(found - crossed).max() < 1e-4 * np.ptp(crossed)
    assert np.abs(found - plain)[:2].max() > 1e-3 * np.ptp(plain)
    assert np.abs(found - plain)[2].max() < 1e-4 * np.ptp(plain)


def test_the_family_takes_the_folder_and_refuses_another_setting(converted: Path, tmp_path: Path) -> None:
    assert check_profile(read_profile(converted)).presence
    told = json.loads((converted / "manifest.json").read_text())
    for name in told["files"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(converted / name)
    (tmp_path / "manifest.json").write_text(json.dumps(told | {"cross_slice": {"heads": 2, "offset": 1}}))
    with pytest.raises(ProfileError, match="--cross-slice"):
        check_profile(read_profile(tmp_path, check_digests=False))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["5"], "5 heads are to look at other slices, but the attention has 4"),
        (["1", "0"], "`offset` is 0"),
        (["3", "1", "2"], "2 offsets for 3 heads"),
        (["-1"], "--cross-slice -1"),
    ],
)
def test_what_cannot_be_is_told(
    arguments: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture, given: list[str], told: str
) -> None:
    out = arguments.index("--out") + 1
    line = [*arguments[:out], str(tmp_path / "o"), *arguments[out + 1 :]]
    assert command.main([*line, "--cross-slice", *given]) == 2
    assert told in caplog.text and not (tmp_path / "o" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("given", "offsets"), [((2,), (2, -2)), ((2, -1), (-1, 1)), ((2, 1, 3), (1, 3)), ((0,), ())]
)
def test_the_option_in_numbers(given: tuple[int, ...], offsets: tuple[int, ...]) -> None:
    assert command._cross_slice(*given).offsets == offsets
