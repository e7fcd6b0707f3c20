"""SegVol: every container of its weights gives one network, its graphs the recorded results."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="published files are converted with torch")
pytest.importorskip("onnx", reason="conversion writes ONNX graphs")

from torch import Tensor  # noqa: E402

from tests.networks.recorded_segvol import (  # noqa: E402
    asked_of,
    assert_recorded,
    read_recorded,
    read_shapes,
    read_weights,
    with_level,
)
from tests.weights.made_biomedparse_v import write_safetensors  # noqa: E402
from tests.weights.made_segvol import POSITIONS, convert_arguments, write_published  # noqa: E402
from vesal.inference.families.bank import read_bank  # noqa: E402
from vesal.inference.runtime.onnx import OnnxRuntime  # noqa: E402
from vesal.inference.runtime.openvino import OpenVino  # noqa: E402
from vesal.networks.segvol import SEGVOL as PUBLISHED  # noqa: E402
from vesal.weights.convert import __main__ as command  # noqa: E402
from vesal.weights.convert.category_bank import (  # noqa: E402
    encode_rows,
    read_categories,
    token_rows,
    write_category_bank,
)
from vesal.weights.convert.errors import (  # noqa: E402
    CheckpointError,
    ConversionError,
    MissingTensorsError,
    UnsafeCheckpointError,
)
from vesal.weights.convert.formats import open_weights  # noqa: E402
from vesal.weights.convert.keymap import load  # noqa: E402
from vesal.weights.convert.systems.segvol import SEGVOL, heads_of  # noqa: E402

LAST_LAYER = "mask_decoder.txt_align_upscaled_embedding.bias"


@pytest.fixture(scope="module")
def tensors(shared: Path) -> dict[str, Tensor]:
    """Those of the reduced network, under the published names."""
    torch.set_num_threads(1)
    return with_level(read_weights(shared))


def short(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Under the names of today's transformers."""
    return {name.replace("text_model.text_model.", "text_model."): value for name, value in tensors.items()}


def with_positions(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors | {POSITIONS: torch.arange(77)[None]}


WRITERS: dict[str, Callable[[dict[str, Tensor], Path], Path]] = {
    "published": lambda t, p: write_published(with_positions(t), p),
    "without prefix": lambda t, p: write_published(t, p, ""),
    "prefix twice": lambda t, p: write_published(t, p, "module.module."),
    "short names": lambda t, p: write_published(short(t), p),
    "short names without prefix": lambda t, p: write_published(short(with_positions(t)), p, ""),
    "safetensors": write_safetensors,
    "bare": lambda t, p: (torch.save(short(t), p), p)[1],
}


@pytest.mark.parametrize("container", WRITERS)
def test_every_container_gives_the_same_network(
    tensors: dict[str, Tensor], tmp_path: Path, container: str
) -> None:
    """Tensors equal to the bit; of the optimizer's state and the positions nothing is left."""
    found = load(open_weights(WRITERS[container](tensors, tmp_path / "weights")), SEGVOL.network).state_dict()
    assert set(found) == set(tensors)
    assert all(torch.equal(found[name], value) for name, value in tensors.items())


@pytest.mark.parametrize("prefix", ["", "module."])
def test_missing_tensors_are_named(tensors: dict[str, Tensor], tmp_path: Path, prefix: str) -> None:
    some = {name: value for name, value in tensors.items() if name != LAST_LAYER}
    with pytest.raises(MissingTensorsError, match=rf"lacks {LAST_LAYER} \(1\)") as caught:
        load(open_weights(write_published(some, tmp_path / "x.pth", prefix)), SEGVOL.network)
    assert caught.value.missing == (LAST_LAYER,)


def test_frequencies_are_wanted_though_they_are_a_buffer(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    name = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    some = {each: value for each, value in tensors.items() if each != name}
    with pytest.raises(MissingTensorsError, match=name):
        load(open_weights(write_published(some, tmp_path / "x.pth")), SEGVOL.network)


def test_surplus_tensors_are_named(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    more = tensors | {"image_encoder.cls_token": torch.ones(2), "text_encoder.text_projection": torch.ones(1)}
    file = open_weights(write_published(more, tmp_path / "x.pth"))
    with pytest.raises(CheckpointError, match=r"cls_token, text_encoder.text_projection \(2\)"):
        load(file, SEGVOL.network)


def test_one_tensor_in_both_spellings_is_refused(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    both = tensors | {name: value for name, value in short(tensors).items() if "final_layer_norm" in name}
    with pytest.raises(CheckpointError, match=r"two tensors for .*text_model\.text_model\.final_layer_norm"):
        load(open_weights(write_safetensors(both, tmp_path / "x.safetensors")), SEGVOL.network)


@pytest.mark.parametrize(
    "prefix", ["model.encoder.", "encoder.", "module.model.encoder.", "module.image_encoder.", ""]
)
@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_the_encoder_alone_is_refused_by_name(
    tensors: dict[str, Tensor], tmp_path: Path, prefix: str, key: str
) -> None:
    encoder = {
        prefix + name.removeprefix("image_encoder."): value
        for name, value in tensors.items()
        if name.startswith("image_encoder.")
    }
    torch.save({key: encoder, "epoch": 3}, tmp_path / "ViT_pretrain.ckpt")
    with pytest.raises(
        CheckpointError, match=r"pre-trained image encoder alone \(\d+ tensors.*Give SegVol_v1.pth"
    ):
        load(open_weights(tmp_path / "ViT_pretrain.ckpt"), SEGVOL.network)


def test_another_networks_file_is_named(tmp_path: Path) -> None:
    torch.save({"model": {"backbone.weight": torch.ones(2)}}, tmp_path / "x.pth")
    with pytest.raises(MissingTensorsError, match=r"It holds backbone.weight \(1\)"):
        load(open_weights(tmp_path / "x.pth"), SEGVOL.network)


def test_a_shape_that_does_not_go_with_the_others_is_named(
    tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    odd = tensors | {"image_encoder.patch_embedding.position_embeddings": torch.ones(1, 95, 64)}
    with pytest.raises(CheckpointError, match=r"position_embeddings \(1, 95, 64\) \(1\) have shapes"):
        load(open_weights(write_published(odd, tmp_path / "x.pth")), SEGVOL.network)


def test_a_cut_file_is_refused(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = write_published(tensors, tmp_path / "x.pth")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"x\.pth"):
        load(open_weights(path), SEGVOL.network)


class Settings:
    """A class of the training's own."""


def test_a_pickle_that_asks_for_classes_is_not_run(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    write_published(tensors, tmp_path / "x.pth", args=Settings())
    with pytest.raises(UnsafeCheckpointError, match=r"Settings.*nothing of it was run"):
        open_weights(tmp_path / "x.pth")


def test_the_published_list_is_what_is_wanted(shared: Path) -> None:
    """Without its values: names are complete, and each lost one is told, the last of a stack too."""
    names = SEGVOL.network.our_names(read_shapes(shared))
    shapes = {ours: read_shapes(shared)[theirs] for ours, theirs in names.items()}
    assert set(SEGVOL.network.expected(shapes)) == set(shapes)
    assert (heads_of(768), heads_of(512), heads_of(64)) == (12, 8, 4)
    for stack in ("image_encoder.blocks.11.", "encoder.layers.11.", "transformer.layers.1."):
        some = {name: shape for name, shape in shapes.items() if stack not in name}
        assert len(some) < len(shapes) and set(SEGVOL.network.expected(some)) == set(shapes)
    with torch.device("meta"):
        assert SEGVOL.network.build(shapes).sizes == PUBLISHED


@pytest.fixture(scope="module")
def arguments(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A checkpoint as published, and the command that converts it."""
    torch.set_num_threads(1)
    return convert_arguments(shared, tmp_path_factory.mktemp("segvol"))


@pytest.fixture(scope="module")
def converted(arguments: list[str]) -> Path:
    """The folder that the command wrote."""
    assert command.main(arguments) == 0
    return Path(arguments[arguments.index("--out") + 1])


def test_the_manifest_tells_what_was_converted(converted: Path) -> None:
    told = json.loads((converted / "manifest.json").read_text())
    network = told["network"]
    assert told["family"] == told["name"] == "segvol" and told["tokenizer"] == "tokenizer.json"
    assert told["bank"] == "bank.npz" and told["provenance"]["weights_licence"] == "MIT"
    assert network["window_dhw"] == [16, 64, 96] and network["stride_dhw"] == [1, 4, 4]
    assert network["patch_dhw"] == [4, 16, 16] and network["channels"] == 64
    assert (network["words"], network["vocabulary"], network["parameters"]) == (77, 512, 446_832)
    assert network["stored"] == network["precision"] == "fp32"
    assert network["agreement"]["fp32"]["worst"] < 1e-4 and network["agreement"]["fp32"]["share"] == 1
    files = {"weights.bin", "tokenizer.json", "bank.npz", "profile/profile.json", *told["graphs"].values()}
    assert set(told["files"]) == files and set(told["graphs"]) == {"image", "text", "decoder"}


@pytest.mark.parametrize("kind", [OnnxRuntime, OpenVino])
def test_the_folders_graphs_give_the_recorded_results(converted: Path, shared: Path, kind: Any) -> None:
    """From ids and window to masks: text and box of the first recorded text."""
    recorded, runtime = read_recorded(shared), kind(1, "a test")

    def run(role: str, **given: np.ndarray) -> np.ndarray:
        found = dict(runtime.load(converted / f"{role}.onnx", "fp32")(given))
        return next(iter(found.values()))

    text = run("text", input_ids=recorded["input_ids"].numpy())[:1]
    embedding = run("image", image=recorded["image"].numpy())
    places, kinds, _, with_text = (each.numpy() for each in asked_of(recorded, "text_box"))
    found = run(
        "decoder", embedding=embedding, coordinates=places, kinds=kinds, text=text, with_text=with_text
    )
    assert_recorded(found[:, None], recorded["text_box_lowres"])


def test_the_bank_holds_what_the_text_graph_gives(converted: Path) -> None:
    """Every category, in its sentence, whatever it was encoded together with."""
    vectors, _ = read_bank(converted / "bank.npz")
    known = read_categories()
    assert list(vectors) == known.names and "left kidney" in vectors
    graph = OnnxRuntime(1, "a test").load(converted / "text.onnx", "fp32")
    for name in ("liver", "vertebrae t12", "portal vein and splenic vein"):
        sentence = f"A computerized tomography of a {name}."
        ids = np.array(token_rows(converted / "tokenizer.json", [sentence]))
        found = graph({"input_ids": ids})["text"][0]
        assert np.abs(found - vectors[name]).max() <= 1e-4 * np.ptp(found)


def test_categories_are_those_of_the_paper() -> None:
    """More than 200 of them (Du et al. 2024, abstract), in lower case, as the family looks them up."""
    known = read_categories()
    assert known.template == "A computerized tomography of a {name}."
    assert len(known.names) > 200 and len(set(known.names)) == len(known.names)
    assert all(name == name.strip().casefold() and name for name in known.names)
    aorta_to_stomach = (  # of table 2, on AMOS22
        *("aorta", "bladder", "duodenum", "esophagus", "gallbladder", "left adrenal gland", "left kidney"),
        *("liver", "pancreas", "postcava", "prostate or uterus", "right adrenal gland", "right kidney"),
        *("spleen", "stomach", "heart", "trachea"),
    )
    assert set(aorta_to_stomach) <= set(known.names)


@pytest.mark.parametrize("text", ["{", "{}", '{"about": "", "template": "a", "groups": {}}'])
def test_a_list_of_categories_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "categories.json").write_text(text)
    with pytest.raises(ConversionError, match=r"categories\.json"):
        read_categories(tmp_path / "categories.json")


def test_names_that_the_encoder_cannot_read_stay_out_of_the_bank(
    tensors: dict[str, Tensor], converted: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With another tokenizer's ids; the rest is as it was."""
    network = load(open_weights(write_published(tensors, tmp_path / "x.pth")), SEGVOL.network)
    told = json.loads((converted / "tokenizer.json").read_text())
    told["model"]["vocab"]["liver</w>"] = 5000
    (tmp_path / "tokenizer.json").write_text(json.dumps(told))
    before, _ = read_bank(converted / "bank.npz")
    after, _ = read_bank(write_category_bank(network, tmp_path))
    assert set(before) - set(after) == {name for name in before if "liver" in name.split()}
    assert np.abs(after["spleen"] - before["spleen"]).max() < 1e-5
    assert "are not in the bank" in caplog.text


@torch.no_grad()
def test_a_row_alone_is_as_in_a_group(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    network = load(open_weights(write_published(tensors, tmp_path / "x.pth")), SEGVOL.network)
    rows = [[510, 3, 511], [510, 4, 5, 6, 7, 511]]
    together = encode_rows(network, rows)
    assert together.shape == (2, 64) and encode_rows(network, []).shape == (0, 64)
    assert np.abs(together[0] - encode_rows(network, rows[:1])[0]).max() < 1e-5


def changed(arguments: list[str], **files: Path) -> list[str]:
    for name, path in files.items():
        at = arguments.index(f"--{name}") + 1
        arguments = [*arguments[:at], str(path), *arguments[at + 1 :]]
    return arguments


def test_the_command_refuses_the_encoder_alone(
    arguments: list[str], tensors: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = {
        name.replace("image_encoder.", "model.encoder."): value
        for name, value in tensors.items()
        if name.startswith("image_encoder.")
    }
    torch.save({"state_dict": encoder}, tmp_path / "ViT_pretrain.ckpt")
    wrong = changed(arguments, checkpoint=tmp_path / "ViT_pretrain.ckpt", out=tmp_path / "o")
    assert command.main(wrong) == 2
    assert "ViT_pretrain.ckpt holds the pre-trained image encoder alone" in caplog.text
    assert not (tmp_path / "o" / "manifest.json").exists()


def test_frequencies_stay_in_fp32(arguments: list[str], tmp_path: Path) -> None:
    """Angles multiply their rounding; large weights are halved."""
    import onnx

    stored = [*changed(arguments, out=tmp_path / "o")]
    stored[stored.index("--store") + 1] = "fp16"
    assert command.main(stored) == 0
    graph = onnx.load(str(tmp_path / "o" / "decoder.onnx"), load_external_data=False).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    matrix = [name for name in types if "gaussian_matrix" in name]
    assert matrix and all(types[name] == onnx.TensorProto.FLOAT for name in matrix)
    assert onnx.TensorProto.FLOAT16 in types.values()
