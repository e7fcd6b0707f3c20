"""VoxTell: the published folder gives a network, and a folder that is run; any other folder is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="published files are converted with torch")
pytest.importorskip("onnx", reason="conversion writes ONNX graphs")

from torch import Tensor  # noqa: E402

from tests.networks.recorded_voxtell import FOLDER, NETWORKS, Recorded  # noqa: E402
from tests.weights.made_voxtell import (  # noqa: E402
    LABELS,
    SIZES,
    WINDOW,
    made_network,
    made_plans,
    published_state,
    run_graphs,
    write_folder,
)
from vesal.inference.families.voxtell.fields import VoxTellFields  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.prompts.text_bank import read_text_bank  # noqa: E402
from vesal.inference.runtime.onnx import OnnxRuntime  # noqa: E402
from vesal.inference.runtime.openvino import OpenVino  # noqa: E402
from vesal.networks.voxtell import VOXTELL, VoxTell  # noqa: E402
from vesal.weights.convert import __main__ as command  # noqa: E402
from vesal.weights.convert.errors import (  # noqa: E402
    CheckpointError,
    MissingTensorsError,
    UnsafeCheckpointError,
)
from vesal.weights.convert.formats import open_weights  # noqa: E402
from vesal.weights.convert.keymap import load  # noqa: E402
from vesal.weights.convert.systems.voxtell import convert_voxtell  # noqa: E402
from vesal.weights.convert.voxtell_names import NETWORK, check_doubles, original_of  # noqa: E402

State = dict[str, Tensor]
PLAIN = ["--precision", "fp32"]


@pytest.fixture(scope="module")
def state() -> State:
    torch.set_num_threads(1)
    return published_state(made_network())


@pytest.fixture(scope="module")
def converted(state: State, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made folder, by the command, with the bank whole."""
    root = write_folder(tmp_path_factory.mktemp("published"), state)
    out = tmp_path_factory.mktemp("voxtell") / "out"
    assert command.main(["voxtell", "--folder", str(root), "--output", str(out), *PLAIN]) == 0
    return out


def read(state: State, path: Path) -> VoxTell:
    torch.save({"network_weights": state}, path / "checkpoint_final.pth")
    file = open_weights(path / "checkpoint_final.pth")
    check_doubles(file)
    return load(file, NETWORK)


def test_the_network_is_read_and_what_is_never_run_is_not(state: State, tmp_path: Path) -> None:
    found = read(state, tmp_path).state_dict()
    wanted = made_network().state_dict()
    assert set(found) == set(wanted) and len(state) > 2 * len(wanted)
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_doubles_and_what_is_never_run_may_be_gone(state: State, tmp_path: Path) -> None:
    some = {name: value for name, value in state.items() if original_of(name) == name and "norm1" not in name}
    found = read(some, tmp_path).state_dict()
    assert all(torch.equal(found[name], value) for name, value in made_network().state_dict().items())


def test_every_double_has_its_original(shared: Path) -> None:
    """Names of the reduced network of the fixtures, which are the published ones."""
    names = [line.split("\t")[0] for line in (shared / FOLDER / "net/A_keys.txt").read_text().splitlines()]
    originals = {original_of(name) for name in names}
    assert len(names) == 1095 and len(originals) == 403 and originals <= set(names)
    used = NETWORK.our_names(names)
    with torch.device("meta"):
        assert set(used) == set(VoxTell(VOXTELL).state_dict())


@pytest.mark.parametrize(
    "double",
    [
        "encoder.stages.1.blocks.0.conv1.all_modules.0.weight",
        "decoder.encoder.stages.2.blocks.0.skip.1.norm.bias",
        "decoder.stages.1.convs.0.all_modules.1.weight",
    ],
)
def test_a_double_that_differs_is_named(state: State, tmp_path: Path, double: str) -> None:
    odd = state[double].clone()
    odd.view(-1)[-1] += 1
    with pytest.raises(CheckpointError, match=rf"{double} and .* should be one tensor, and differ"):
        read(state | {double: odd}, tmp_path)
    with pytest.raises(CheckpointError, match=f"{double} and .* should be one tensor"):
        read(state | {double: state[double][..., :1]}, tmp_path)


@pytest.mark.parametrize("lost", ["encoder.stem.convs.0.conv.weight", "decoder.stages.0.convs.0.norm.bias"])
def test_a_double_without_its_original_is_named(state: State, tmp_path: Path, lost: str) -> None:
    with pytest.raises(MissingTensorsError, match=rf"which repeats {lost}"):
        read({name: value for name, value in state.items() if name != lost}, tmp_path)


@pytest.mark.parametrize(
    "lost",
    [
        "pos_embed",
        "project_text_embed.2.bias",
        "decoder.transpconvs.2.weight",
        "transformer_decoder.norm.weight",
    ],
)
def test_missing_tensors_are_named(state: State, tmp_path: Path, lost: str) -> None:
    with pytest.raises(MissingTensorsError, match=rf"lacks {lost} \(1\)"):
        read({name: value for name, value in state.items() if name != lost}, tmp_path)


def test_a_whole_stage_that_is_missing_is_named(state: State, tmp_path: Path) -> None:
    some = {name: value for name, value in state.items() if "encoder.stages.3" not in name}
    with pytest.raises(MissingTensorsError, match=r"lacks encoder\.stages\.3\.blocks\.0"):
        read(some, tmp_path)


@pytest.mark.parametrize(
    "name", ["transformer_decoder.layers.0.gate", "x.all_modules.0.weight", "seg_layers.0.bias"]
)
def test_surplus_tensors_are_named(state: State, tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match=name.split(".all")[0]):
        read(state | {name: torch.ones(2)}, tmp_path)


class Settings:
    """A class of the training's own."""


def test_a_pickle_that_asks_for_classes_is_not_run(state: State, tmp_path: Path) -> None:
    root = write_folder(tmp_path, state, trainer=Settings())
    with pytest.raises(UnsafeCheckpointError, match=r"Settings.*nothing of it was run"):
        convert_voxtell(root, tmp_path / "out", command.Options())


def test_a_cut_file_is_refused(state: State, tmp_path: Path) -> None:
    path = write_folder(tmp_path, state) / "voxtell_v1.1/fold_0/checkpoint_final.pth"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"checkpoint_final\.pth"):
        convert_voxtell(tmp_path, tmp_path / "out", command.Options())


PLANS: dict[str, tuple[dict[str, Any], str]] = {
    "window of other tokens": (made_plans((32, 8, 24)), r"of 96 tokens, while `pos_embed` is for 48"),
    "window of odd sides": (made_plans((16, 12, 16)), r"16 x 12 x 16, whose sides must be multiples of 8"),
    "flat window": (made_plans((16, 24)), r"`patch_size` is \[16, 24\]"),
    "no window": (made_plans((0, 8, 24)), r"`patch_size` is"),
    "stages": (made_plans(n_stages=5), r"`n_stages` is 5, wanted is 4"),
    "features": (made_plans(features_per_stage=[4, 6, 8, 10]), r"`features_per_stage` is .*10"),
    "kernels": (made_plans(kernel_sizes=[[1, 3, 3]] * 4), r"`kernel_sizes`"),
    "strides": (made_plans(strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2], [2, 2, 2]]), r"`strides`"),
    "norm": (made_plans(norm_op="torch.nn.modules.batchnorm.BatchNorm3d"), r"`norm_op` is .*BatchNorm3d"),
    "activation": (made_plans(nonlin="torch.nn.ReLU"), r"`nonlin` is 'torch.nn.ReLU'"),
    "slope": (made_plans(nonlin_kwargs={"negative_slope": 0.2}), r"`nonlin_kwargs.negative_slope` is 0.2"),
    "dropout": (made_plans(dropout_op="torch.nn.Dropout3d"), r"`dropout_op`"),
    "unknown": (made_plans(squeeze_excitation=True), r"squeeze_excitation"),
    "empty": ({}, r"is no plans.json of VoxTell \(KeyError: 'configurations'\)"),
    "another configuration": ({"configurations": {"2d": {}}}, r"KeyError: '3d_fullres'"),
    "a list": ([], r"is no plans.json of VoxTell"),
}


@pytest.mark.parametrize("case", PLANS)
def test_plans_of_another_network_are_named(state: State, tmp_path: Path, case: str) -> None:
    plans, message = PLANS[case]
    root = write_folder(tmp_path, state, plans)
    with pytest.raises(CheckpointError, match=rf"plans\.json.*{message}"):
        convert_voxtell(root, tmp_path / "out", command.Options())
    assert not (tmp_path / "out" / "manifest.json").exists()


def without(name: str) -> Callable[[Path], Path]:
    def spoil(root: Path) -> Path:
        (root / name).unlink()
        return root

    return spoil


def pickled_bank(root: Path) -> Path:
    path = root / "embeddings/voxtell_v1.1/text_embeddings.npz"
    np.savez(path, labels=np.array(["a", Settings()], object), embeddings=np.zeros((2, 10), np.float16))
    return root


FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no folder": (lambda root: root / "nothing", r"nothing is no folder"),
    "an empty folder": (lambda root: root / "embeddings", r"holds 'voxtell_v1.1', and neither plans.json"),
    "no weights": (without("voxtell_v1.1/fold_0/checkpoint_final.pth"), r"holds no fold_0/checkpoint_final"),
    "no bank": (
        without("embeddings/voxtell_v1.1/text_embeddings.npz"),
        r"no bank of text embeddings at /.*embeddings",
    ),
    "a bank that asks for a pickle": (pickled_bank, r"text_embeddings\.npz"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_that_are_not_there_are_named(
    state: State, tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    """By the command, which says it in one line and writes nothing."""
    spoil, message = FILES[case]
    folder = spoil(write_folder(tmp_path, state))
    assert command.main(["voxtell", "--folder", str(folder), "-o", str(tmp_path / "out")]) == 2
    with pytest.raises(CheckpointError, match=message):
        convert_voxtell(folder, tmp_path / "out", command.Options())
    assert not (tmp_path / "out" / "manifest.json").exists()


@pytest.mark.parametrize("inside", [True, False])
def test_the_old_version_is_refused_by_name(state: State, tmp_path: Path, inside: bool) -> None:
    root = write_folder(tmp_path, state, model="voxtell_v1.0")
    with pytest.raises(CheckpointError, match=r"VoxTell v1\.0, .* Fetch voxtell_v1\.1"):
        convert_voxtell(root / "voxtell_v1.0" if inside else root, tmp_path / "out", command.Options())


def test_a_bank_of_another_model_is_refused(state: State, tmp_path: Path) -> None:
    root = write_folder(tmp_path, state, width=12)
    with pytest.raises(CheckpointError, match=r"embeddings of 12 numbers, .* takes 10"):
        convert_voxtell(root, tmp_path / "out", command.Options())


def test_the_manifest_tells_what_was_converted(converted: Path) -> None:
    told = json.loads((converted / "manifest.json").read_text())
    assert told["family"] == told["name"] == "voxtell" and told["licence"] == "CC-BY-NC-SA-4.0"
    provenance = told["provenance"]
    assert provenance["code_licence"] == "Apache-2.0" and provenance["modalities"] == ["CT", "MR", "PET"]
    assert {role: file["file"] for role, file in provenance["files"].items()} == {
        "network": "checkpoint_final.pth",
        "plans": "plans.json",
        "bank": "text_embeddings.npz",
    }
    assert all(len(file["sha256"]) == 64 for file in provenance["files"].values())
    network = told["network"]
    assert network["window_dhw"] == list(WINDOW) == told["stages"][0]["layout"]["window_dhw"]
    assert told["stages"][0]["window_voxels"] == np.prod(WINDOW) and network["text"] == SIZES.text
    assert network["parameters"] == sum(p.numel() for p in made_network().parameters())
    assert network["agreement"]["fp32"]["share"] >= 0.999 and network["precision"] == "fp32"
    assert network["bank"]["kept"] == "whole" and network["bank"]["published"].startswith("5 labels")
    files = {"weights.bin", "bank.npz", "label_vectors.npz", "profile/profile.json", *told["graphs"].values()}
    assert set(told["files"]) == files == {p.relative_to(converted).as_posix() for p in files_in(converted)}


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json"]


def test_the_engine_reads_the_manifest(converted: Path) -> None:
    """Digests too."""
    fields = read_profile(converted).read_family(VoxTellFields)
    assert fields.network.window_dhw == WINDOW and fields.label_vectors == "label_vectors.npz"


@torch.no_grad()
@pytest.mark.parametrize("kind", [OnnxRuntime, OpenVino])
def test_the_folders_graphs_give_the_networks_logits(converted: Path, kind: Any) -> None:
    """A window of three different sides, with texts of the bank."""
    rng = np.random.default_rng(1)
    image = rng.standard_normal((1, 1, *WINDOW)).astype(np.float32)
    text = read_text_bank(converted / "bank.npz").embeddings[None, :2].astype(np.float32)
    found = run_graphs(converted, kind(1, "a test"), image, text)
    network = made_network()
    wanted = network(torch.from_numpy(image), torch.from_numpy(text)).numpy()
    assert np.abs(found - wanted).max() <= 1e-4 * np.ptp(wanted)


def test_a_label_stands_once_as_the_later_row(converted: Path, tmp_path: Path) -> None:
    """As the published code reads the bank."""
    published = np.load(write_folder(tmp_path) / "embeddings/voxtell_v1.1/text_embeddings.npz")
    bank = read_text_bank(converted / "bank.npz")
    assert sorted(bank.labels) == sorted({label.lower() for label in LABELS})
    assert np.array_equal(bank.vector("aorta"), published["embeddings"][5].astype(np.float32))


def test_the_bank_is_cut_to_the_vocabulary(state: State, converted: Path, tmp_path: Path) -> None:
    """Found where it is named; the model's own folder is given. Labels' vectors go with the labels."""
    root = write_folder(tmp_path / "in", state)
    bank = (root / "embeddings/voxtell_v1.1/text_embeddings.npz").rename(tmp_path / "elsewhere.npz")
    folder = ["--folder", str(root / "voxtell_v1.1"), "--bank-file", str(bank), "--bank", "vocabulary"]
    assert command.main(["voxtell", *folder, "-o", str(tmp_path / "out"), *PLAIN]) == 0
    cut, whole = read_text_bank(tmp_path / "out" / "bank.npz"), read_text_bank(converted / "bank.npz")
    assert set(cut.labels) == {"liver", "left kidney", "gallbladder", "aorta"}
    assert all(np.array_equal(cut.vector(label), whole.vector(label)) for label in cut.labels)
    with np.load(tmp_path / "out" / "label_vectors.npz") as vectors:
        assert len(vectors["vectors"]) == 4
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["network"]["bank"] == {
        "published": "5 labels, 0.0 MB",
        "vocabulary": "4 labels, 0.0 MB",
        "kept": "vocabulary",
    }


def test_a_bank_of_which_nothing_would_stay_is_refused(state: State, tmp_path: Path) -> None:
    root = write_folder(tmp_path, state, labels=["a thing that no vocabulary knows"])
    with pytest.raises(CheckpointError, match="--bank whole"):
        convert_voxtell(root, tmp_path / "out", command.Options(), kept="vocabulary")


def test_the_fixtures_folder_gives_the_recorded_logits(shared: Path, tmp_path: Path) -> None:
    """As published, from the folder that holds model and bank."""
    out = ["--output", str(tmp_path), "--store", "fp16", *PLAIN]
    assert command.main(["voxtell", "--folder", str(shared / FOLDER / "model"), *out]) == 0
    recorded = Recorded(shared, *NETWORKS[0])
    found = run_graphs(tmp_path, OpenVino(1, "a test"), recorded.image.numpy(), recorded.text.numpy())
    recorded.check("logits", torch.from_numpy(found))
    told = json.loads((tmp_path / "manifest.json").read_text())["network"]
    assert told["window_dhw"] == [64, 64, 64] and told["bank"]["published"].startswith("11 labels")
