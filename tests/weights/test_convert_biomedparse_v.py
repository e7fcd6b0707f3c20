"""BiomedParse-V: every container of its weights gives one network, its graphs the recorded results."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="published files are converted with torch")
pytest.importorskip("onnx", reason="conversion writes ONNX graphs")

from torch import Tensor  # noqa: E402

from tests.networks.recorded_biomedparse_v import FOLDER, read_shapes, read_weights  # noqa: E402
from tests.weights.made_biomedparse_v import (  # noqa: E402
    FIRST,
    LAST,
    convert_arguments,
    write_lightning,
    write_safetensors,
)
from vesal.inference.runtime.onnx import OnnxRuntime  # noqa: E402
from vesal.inference.runtime.openvino import OpenVino  # noqa: E402
from vesal.networks.biomedparse_v import BIOMEDPARSE_V, MEAN, STD, BiomedParseV  # noqa: E402
from vesal.weights.convert import __main__ as command  # noqa: E402
from vesal.weights.convert.errors import (  # noqa: E402
    CheckpointError,
    MissingTensorsError,
    UnsafeCheckpointError,
)
from vesal.weights.convert.formats import open_weights  # noqa: E402
from vesal.weights.convert.keymap import load  # noqa: E402
from vesal.weights.convert.systems.biomedparse_v import (  # noqa: E402
    BIOMEDPARSE,
    DEFAULTS,
    UNUSED,
    heads_of,
)

LIMIT = 1e-4
"""Largest difference, as a share of the recorded range."""
LAST_LAYER = "sem_seg_head.predictor.transformer_ffn_layers.8.linear2.bias"


@pytest.fixture(scope="module")
def tensors(shared: Path) -> dict[str, Tensor]:
    """Those of the reduced network, with means of grey levels that are not the default ones."""
    torch.set_num_threads(1)
    found = read_weights(shared, "")
    found["pixel_mean"] = torch.tensor([100.0, 110, 120]).reshape(1, 3, 1, 1)
    found["pixel_std"] = torch.tensor([50.0, 60, 76]).reshape(1, 3, 1, 1)
    return found


def prefixed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"model.{name}": value for name, value in tensors.items()}


WRITERS: dict[str, Callable[[dict[str, Tensor], Path], Path]] = {
    "lightning": write_lightning,
    "lightning without prefix": lambda t, p: write_lightning(t, p, ""),
    "safetensors": write_safetensors,
    "safetensors with prefix": lambda t, p: write_safetensors(prefixed(t), p),
    "bare": lambda t, p: (torch.save(t, p), p)[1],
    "data parallel": lambda t, p: write_lightning(t, p, "model.module."),
}


@pytest.mark.parametrize("container", WRITERS)
def test_every_container_gives_the_same_network(
    tensors: dict[str, Tensor], tmp_path: Path, container: str
) -> None:
    """Tensors equal to the bit; of the optimizer's state and the training's loss nothing is left."""
    file = open_weights(WRITERS[container](tensors, tmp_path / "weights"))
    network = load(file, BIOMEDPARSE.network)
    found = network.state_dict()
    assert set(found) == set(tensors)
    assert all(torch.equal(found[name], value) for name, value in tensors.items())
    assert file.step == (1234 if "optimizer" in container or "lightning" in container else file.step)


def test_grey_levels_of_the_file_win(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    network = load(open_weights(write_lightning(tensors, tmp_path / "x.ckpt")), BIOMEDPARSE.network)
    facts = BIOMEDPARSE.facts(network)
    assert facts["pixel_mean"] == 110 and facts["pixel_std"] == 62
    image = torch.full((1, 3, 4, 4), 172.0)
    assert torch.equal(network.normalised(image), torch.ones(1, 3, 4, 4))


def test_what_may_be_absent_is_told_and_keeps_its_default(
    tensors: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    some = {name: value for name, value in tensors.items() if name not in DEFAULTS | UNUSED}
    network = load(open_weights(write_safetensors(some, tmp_path / "x.safetensors")), BIOMEDPARSE.network)
    facts = BIOMEDPARSE.facts(network)
    assert [facts["pixel_mean"], facts["pixel_std"]] == pytest.approx([MEAN, STD])
    assert all(name in caplog.text for name in DEFAULTS | UNUSED)


@pytest.mark.parametrize("prefix", ["", "model."])
def test_missing_tensors_are_named(tensors: dict[str, Tensor], tmp_path: Path, prefix: str) -> None:
    some = {name: value for name, value in tensors.items() if name != LAST_LAYER}
    file = open_weights(write_lightning(some, tmp_path / "x.ckpt", prefix))
    with pytest.raises(MissingTensorsError, match=rf"lacks {LAST_LAYER} \(1\)") as caught:
        load(file, BIOMEDPARSE.network)
    assert caught.value.missing == (LAST_LAYER,)


def test_surplus_tensors_are_named(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    more = tensors | {"output_conv1.weight": torch.ones(2), "loss_function.other": torch.ones(1)}
    file = open_weights(write_lightning(more, tmp_path / "x.ckpt"))
    with pytest.raises(CheckpointError, match=r"loss_function.other, output_conv1.weight \(2\)"):
        load(file, BIOMEDPARSE.network)


def test_one_tensor_under_both_spellings_is_refused(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    both = tensors | {f"model.{LAST_LAYER}": tensors[LAST_LAYER]}
    with pytest.raises(CheckpointError, match="two tensors for"):
        load(open_weights(write_safetensors(both, tmp_path / "x.safetensors")), BIOMEDPARSE.network)


def test_a_cut_file_is_refused(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = write_safetensors(tensors, tmp_path / "x.safetensors")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(MissingTensorsError, match="was cut short"):
        load(open_weights(path), BIOMEDPARSE.network)


def test_a_shape_that_does_not_go_with_the_others_is_named(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    odd = tensors | {LAST_LAYER: torch.ones(9), "pixel_mean": torch.ones(5)}
    with pytest.raises(CheckpointError, match=r"pixel_mean \(5,\), .*linear2.bias \(9,\)"):
        load(open_weights(write_safetensors(odd, tmp_path / "x.safetensors")), BIOMEDPARSE.network)


class Settings:
    """A class of the training's own."""


def test_a_pickle_that_asks_for_classes_is_not_run(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": tensors, "hyper_parameters": Settings()}, tmp_path / "x.ckpt")
    with pytest.raises(UnsafeCheckpointError, match=r"Settings.*nothing of it was run"):
        open_weights(tmp_path / "x.ckpt")


def test_the_published_list_is_what_is_wanted(shared: Path) -> None:
    """Without its values: names are complete, and each lost one is told, the last of a stack too."""
    shapes = read_shapes(shared, "")
    wanted = BIOMEDPARSE.network.expected(shapes)
    assert set(wanted) == set(shapes) and heads_of(shapes) == BIOMEDPARSE_V.decoder.heads
    for stack in ("backbone.layers.2.blocks.17.", "layers.5.", "resblocks.11.", "ffn_layers.8."):
        some = {name: shape for name, shape in shapes.items() if stack not in name}
        assert len(some) < len(shapes) and set(BIOMEDPARSE.network.expected(some)) == set(shapes)


@pytest.fixture(scope="module")
def arguments(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A checkpoint of Lightning's, and the command that converts it."""
    torch.set_num_threads(1)
    return convert_arguments(shared, tmp_path_factory.mktemp("biomedparse-v"))


@pytest.fixture(scope="module")
def converted(arguments: list[str]) -> Path:
    """The folder that the command wrote."""
    assert command.main(arguments) == 0
    return Path(arguments[arguments.index("--out") + 1])


def test_the_manifest_tells_what_was_converted(converted: Path) -> None:
    told = json.loads((converted / "manifest.json").read_text())
    network = told["network"]
    assert told["family"] == told["name"] == "biomedparse-v" and told["tokenizer"] == "tokenizer.json"
    assert told["provenance"]["files"]["network"]["step"] == 1234
    assert (network["heads"], network["channels"], network["queries"], network["edge_queries"]) == (
        4,
        64,
        16,
        4,
    )
    assert network["stored"] == network["precision"] == "fp32" and network["multiple"] == 32
    assert network["agreement"]["fp32"]["worst"] < LIMIT and network["parameters"] == 2_141_579
    files = {"weights.bin", "tokenizer.json", "profile/profile.json", *told["graphs"].values()}
    assert set(told["files"]) == files and set(told["graphs"]) == {"image", "text", "decoder", "decoder_full"}
    assert {path.name for path in converted.iterdir()} == {*files, "manifest.json", "profile"} - {
        "profile/profile.json"
    }


@pytest.mark.parametrize("kind", [OnnxRuntime, OpenVino])
def test_the_folders_graphs_give_the_recorded_results(converted: Path, shared: Path, kind: Any) -> None:
    """Full attention, three prompts in a group, slices 1 to 3."""
    with np.load(shared / FOLDER / "net_io.npz") as stored:
        volume, ids = stored["vol_u8"].astype(np.float32), stored["input_ids"]
        lengths, wanted = stored["attention_mask"].sum(1), {n: stored[f"full_{n}"] for n in RECORDED}
    runtime = kind(1, "a test")
    graphs = json.loads((converted / "manifest.json").read_text())["graphs"]

    def run(role: str, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        graph = runtime.load(converted / graphs[role], "fp32")
        return dict(graph({name: given[name] for name in graph.inputs}))

    words = run("text", {"input_ids": ids})["tokens"][:, : lengths.max()]
    own = np.arange(lengths.max()) < lengths[:, None]
    image = np.stack([volume[1:4], volume[0:3], volume[2:5]], 1)
    encoded = run("image", {"image": image})
    tokens = (words * own[..., None]).transpose(1, 0, 2)
    found = run("decoder_full", {**encoded, "tokens": tokens})
    for name, output in RECORDED.items():
        recorded = wanted[name][:, 1:4]
        assert np.abs(found[output] - recorded).max() <= LIMIT * np.ptp(wanted[name])


RECORDED = {"pred_gmasks": "mask", "edge_masks": "edges", "object_existence": "existence"}


def test_the_tokenizer_is_clips(converted: Path) -> None:
    """Lower case, byte pairs joined, the last of a word marked."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(converted / "tokenizer.json"))
    assert tokenizer.encode("LIVER, liver").tokens == ["liver</w>", ",</w>", "liver</w>"]
    assert [tokenizer.token_to_id(mark) for mark in (FIRST, LAST)] == [510, 511]


def changed(arguments: list[str], **files: Path) -> list[str]:
    for name, path in files.items():
        at = arguments.index(f"--{name}") + 1
        arguments = [*arguments[:at], str(path), *arguments[at + 1 :]]
    return arguments


def test_an_earlier_conversion_stays_when_the_next_one_fails(
    arguments: list[str], converted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = (converted / "manifest.json").read_bytes()
    (tmp_path / "pointer.ckpt").write_text("version https://git-lfs.github.com/spec/v1\nsize 12345\n")
    assert command.main(changed(arguments, checkpoint=tmp_path / "pointer.ckpt")) == 2
    assert "pointer.ckpt is a pointer of Git LFS" in caplog.text and "12,345 bytes" in caplog.text
    assert (converted / "manifest.json").read_bytes() == before


def test_a_command_names_all_that_is_missing(
    arguments: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_safetensors({"pixel_mean": torch.ones(1, 3, 1, 1)}, tmp_path / "x.safetensors")
    assert command.main(changed(arguments, checkpoint=tmp_path / "x.safetensors", out=tmp_path / "o")) == 2
    assert LAST_LAYER in caplog.text and not (tmp_path / "o" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "lacks the tokenizer"),
        ({"vocab.json": "{}"}, "lacks the tokenizer"),
        ({"vocab.json": "{}", "merges.txt": "a b\n"}, "make no tokenizer"),
        ({"vocab.json": '{"a": 0}', "merges.txt": ""}, "no <|startoftext|> and no <|endoftext|>"),
        ({"tokenizer.json": "{"}, "is no tokenizer"),
        (
            {"tokenizer.json": "version https://git-lfs.github.com/spec/v1\nsize 9\n"},
            "pointer of Git LFS",
        ),
    ],
)
def test_folders_without_clips_tokenizer_are_named(
    arguments: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture, files: dict[str, str], told: str
) -> None:
    (tmp_path / "t").mkdir()
    for name, text in files.items():
        (tmp_path / "t" / name).write_text(text)
    assert command.main(changed(arguments, tokenizer=tmp_path / "t", out=tmp_path / "o")) == 2
    assert told in caplog.text


def test_random_weights_of_any_size_are_built(tensors: dict[str, Tensor]) -> None:
    """Sizes come from shapes alone."""
    with torch.device("meta"):
        whole = BiomedParseV(BIOMEDPARSE_V)
    shapes = {name: tuple(value.shape) for name, value in whole.state_dict().items()}
    with torch.device("meta"):
        assert BIOMEDPARSE.network.build(shapes).sizes == BIOMEDPARSE_V
        reduced = BIOMEDPARSE.network.build({n: tuple(v.shape) for n, v in tensors.items()})
    assert reduced.sizes.backbone.depths == (1, 1, 2, 1) and reduced.sizes.decoder.heads == 4
