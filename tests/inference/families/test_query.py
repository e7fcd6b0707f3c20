"""Medal S and SAT in the engine: what a window becomes on its way into the graph and back."""

import json
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from vesal.inference.data.errors import ProfileError
from vesal.inference.families.contract import Embedding
from vesal.inference.families.network_input import image_channels
from vesal.inference.families.query import (
    QueryBank,
    QueryModel,
    QueryNetwork,
    padded_sides,
    query_text,
    sigmoid,
)

BANK = QueryBank(
    {"liver": np.array([1.0, 2.0], np.float32), "left kidney": np.array([3.0, 4.0], np.float32)},
    np.array([[0.0, 0.0], [10.0, 20.0]], np.float32),
)


@dataclass(frozen=True)
class Query:
    """What a model is asked."""

    concept: str
    side: str | None = None
    modality: str = "CT"


class Recorder:
    """A graph that keeps its inputs and answers with the image, once for each query."""

    def __init__(self) -> None:
        self.inputs: dict[str, np.ndarray] = {}

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Logits (1, N, d, h, w): intensities less 100."""
        self.inputs = inputs
        n = inputs["text"].shape[1]
        return {"logits": np.repeat(inputs["image"] - 100.0, n, 1)}


class Encoder:
    """Sentences to their length."""

    def encode(self, texts: list[str]) -> np.ndarray:
        """(N, 2)"""
        return np.array([[len(t), 0] for t in texts], np.float32)


def embedding(count: int) -> Embedding:
    """Queries of N prompts."""
    zeros = np.zeros(count, np.int64)
    return Embedding(np.ones((count, 2), np.float32), zeros, zeros)


def test_the_graph_sees_raw_intensities_padded_with_black() -> None:
    graph = Recorder()
    image = np.random.default_rng(0).integers(0, 256, (5, 40, 64)).astype(np.uint8)
    probability, presence = QueryNetwork(graph, None).predict(
        image_channels(image, (90.0, 30.0)), None, embedding(3)
    )
    assert graph.inputs["image"].shape == (1, 1, 32, 64, 64) and set(graph.inputs) == {"image", "text"}
    assert np.allclose(graph.inputs["image"][0, 0, :5, :40], image, atol=1e-4)
    assert np.abs(graph.inputs["image"][0, 0, 5:]).max() == 0
    assert probability.shape == (3, 5, 40, 64) and presence.shape == (3, 5)
    assert np.array_equal(probability[2] > 0.5, image > 100)


def test_prompts_are_padded_like_the_image_and_else_as_they_are() -> None:
    plain, prompted = Recorder(), Recorder()
    image = np.zeros((2, 32, 40, 32), np.float32)
    prompt = np.zeros((2, 32, 40, 32), np.float32)
    prompt[0, 3, 4, 5], prompt[1, 0, 0, 0] = 1.0, 0.25
    QueryNetwork(plain, prompted).predict(image, prompt, embedding(2))
    assert not plain.inputs
    seen = prompted.inputs["prompt"]
    assert seen.shape == (1, 2, 32, 64, 32) and seen.dtype == np.float32
    assert seen.sum() == 1.25 and seen[0, 0, 3, 4, 5] == 1, "the rules decide between masks and probabilities"


def test_prompts_of_zeros_take_the_network_without_prompts() -> None:
    plain, prompted = Recorder(), Recorder()
    image = np.zeros((2, 64, 32, 32), np.float32)
    QueryNetwork(plain, prompted).predict(image, np.zeros((1, 64, 32, 32), np.float32), embedding(1))
    assert plain.inputs and not prompted.inputs


@pytest.mark.parametrize(
    ("shape", "padded"),
    [
        ((64, 96, 32), (64, 96, 32)),
        ((1, 33, 65), (32, 64, 96)),
        ((32, 32, 32), (32, 32, 64)),
        ((5, 6, 7), (32, 32, 64)),
    ],
)
def test_sides_are_multiples_and_leave_more_than_one_voxel(
    shape: tuple[int, int, int], padded: tuple[int, int, int]
) -> None:
    assert padded_sides(shape) == padded


def test_sigmoid_bears_any_logit() -> None:
    with np.errstate(all="raise"):
        found = sigmoid(np.array([-1e4, -100.0, 0.0, 2.0, 1e4]))
    assert found.dtype == np.float32
    assert np.allclose(found, [0, 0, 0.5, 0.8807971, 1])


def test_queries_add_the_modality_to_the_text() -> None:
    model = QueryModel({"fine": QueryNetwork(Recorder(), None)}, BANK)
    found = model.embed([Query("liver"), Query("kidney", "left", "MR")])
    assert found.text.tolist() == [[1, 2], [13, 24]] and found.modality.tolist() == [0, 1]
    assert model.knows("liver") and not model.knows("spleen") and not model.knows(None)


def test_what_the_bank_lacks_is_encoded_or_named() -> None:
    networks = {"fine": QueryNetwork(Recorder(), None)}
    assert QueryModel(networks, BANK, Encoder()).embed([Query("spleen")]).text.tolist() == [[6, 0]]
    with pytest.raises(ProfileError, match="'spleen'"):
        QueryModel(networks, BANK).embed([Query("spleen")])
    with pytest.raises(ProfileError, match="know the modalities CT, MR, not US"):
        QueryModel(networks, BANK).embed([Query("liver", None, "US")])


def test_a_sentence_comes_before_the_target() -> None:
    @dataclass(frozen=True)
    class Asked(Query):
        sentence: str = "the liver on CT"

    assert query_text(Asked("liver")) == "the liver on CT"
    assert query_text(Query("kidney", "left")) == "left kidney"


def test_one_network_serves_both_stages() -> None:
    coarse, fine = (QueryNetwork(Recorder(), None) for _ in range(2))
    both = QueryModel({"coarse": coarse, "fine": fine}, BANK)
    assert (both.coarse, both.fine) == (coarse, fine)
    alone = QueryModel({"fine": fine}, BANK)
    assert (alone.coarse, alone.fine) == (fine, fine)


class Counting:
    """Loads recorders and knows which are still held."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.held: weakref.WeakValueDictionary[str, Recorder] = weakref.WeakValueDictionary()

    def load(self, path: Path, precision: str | None = None) -> Recorder:
        """A recorder, noted by the file's name."""
        graph = Recorder()
        self.loaded.append(path.name)
        self.held[path.name] = graph
        return graph


def test_graphs_of_one_stage_are_held_at_a_time(tmp_path: Path) -> None:
    stages = {"coarse": {"plain": "a"}, "fine": {"plain": "b", "prompted": "c"}}
    manifest = {"graphs": stages, "network": {"coarse": {}, "fine": {}}, "bank": "bank.npz"}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    vectors = {"names": np.array(["x"]), "vectors": np.zeros((1, 2)), "modality_vectors": np.zeros((5, 2))}
    np.savez(tmp_path / "bank.npz", **vectors)
    runtime = Counting()
    model = QueryModel.load(tmp_path, runtime)
    assert not runtime.loaded
    image, prompt = np.zeros((2, 64, 32, 32), np.float32), np.ones((1, 64, 32, 32), np.float32)
    for _ in range(2):
        model.coarse.predict(image, None, embedding(1))
    assert runtime.loaded == ["a"]
    model.fine.predict(image, prompt, embedding(1))
    model.fine.predict(image, None, embedding(1))
    model.fine.predict(image, prompt, embedding(1))
    assert runtime.loaded == ["a", "c", "b"] and set(runtime.held) == {"b", "c"}
    model.coarse.predict(image, None, embedding(1))
    assert runtime.loaded == ["a", "c", "b", "a"] and set(runtime.held) == {"a"}


class NoRuntime:
    """Nothing is to be loaded."""

    def load(self, path: Path, precision: str | None = None) -> Recorder:
        """Fail."""
        raise AssertionError(path)


@pytest.mark.parametrize(
    ("manifest", "told"),
    [
        (None, "No such file"),
        ("{", "Expecting"),
        ("{}", "graphs"),
        ('{"graphs": {"fine": {}}, "network": {"fine": {}}, "bank": "bank.npz"}', "plain"),
        ('{"graphs": {"late": {"plain": "x"}}, "network": {"late": {}}, "bank": "b"}', "late"),
        ('{"graphs": {"fine": {"plain": "x"}}, "network": {"fine": {}}, "bank": "bank.npz"}', "no bank"),
    ],
)
def test_folders_that_are_no_weights_are_named(tmp_path: Path, manifest: str | None, told: str) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(ProfileError, match=told):
        QueryModel.load(tmp_path, NoRuntime())


def test_a_bank_whose_parts_differ_is_named(tmp_path: Path) -> None:
    arrays = {"names": np.array(["a"]), "vectors": np.zeros((2, 3)), "modality_vectors": np.zeros((5, 3))}
    np.savez(tmp_path / "bank.npz", **arrays)
    with pytest.raises(ProfileError, match=r"1 names, vectors \(2, 3\)"):
        QueryBank.read(tmp_path / "bank.npz")
