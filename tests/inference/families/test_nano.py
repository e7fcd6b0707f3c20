"""The family `volume`: what a graph is given, and which graph it is."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from vesal.inference.data.errors import OutOfDeviceMemoryError
from vesal.inference.data.prompt import Query
from vesal.inference.families.nano import LazyGraphs, NanoModel
from vesal.inference.families.network_input import image_channels, intensity_statistics

BANK = {"liver": np.array([1.0, 0.0], np.float32), "kidney": np.array([0.0, 2.0], np.float32)}


def query(concept: str, side: str | None = None, modality: str = "CT") -> Query:
    """A query with only what the model reads."""
    return Query(1, concept, concept, side, modality, "organ")


def test_statistics_of_a_volume() -> None:
    """Half 0 and half 200: mean 100, deviation 100."""
    image = np.array([[[0, 200], [200, 0]]], np.uint8)
    assert intensity_statistics(image) == (100.0, 100.0)


def test_a_constant_volume_has_a_deviation_to_divide_by() -> None:
    assert intensity_statistics(np.full((2, 2, 2), 7, np.uint8)) == (7.0, 1.0)


def test_statistics_agree_with_numpy() -> None:
    image = np.random.default_rng(0).integers(0, 256, (9, 8, 7), np.uint8)
    assert intensity_statistics(image) == pytest.approx((image.mean(), image.std()))


def test_statistics_need_no_second_volume() -> None:
    """8 MB of voxels as 64-bit numbers would be 64 MB; a slice of them is 1 MB."""
    image = np.full((64, 256, 512), 9, np.uint8)
    tracemalloc.start()
    try:
        assert intensity_statistics(image) == (9.0, 1.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < image.nbytes / 2


def test_channels_are_scaled_and_standardised() -> None:
    channels = image_channels(np.array([[[0.0, 127.5, 255.0]]]), (55.0, 100.0))
    assert channels.dtype == np.float32
    np.testing.assert_allclose(channels[0], [[[-1, 0, 1]]])
    np.testing.assert_allclose(channels[1], [[[-0.55, 0.725, 2.0]]])


def test_an_embedding_has_a_row_a_prompt() -> None:
    model = NanoModel({}, BANK)
    embedding = model.embed([query("kidney", "right", "MR"), query("liver")])
    np.testing.assert_array_equal(embedding.text, [[0, 2], [1, 0]])
    np.testing.assert_array_equal(embedding.side, [2, 0])
    np.testing.assert_array_equal(embedding.modality, [1, 0])


def test_the_bank_says_what_is_known() -> None:
    model = NanoModel({}, BANK)
    assert model.knows("liver")
    assert not model.knows("spleen")
    assert not model.knows(None)


@pytest.mark.parametrize("given", [True, False])
def test_a_graph_gets_one_batch_of_named_arrays(given: bool) -> None:
    """Without a spatial prompt the graph sees zeros."""
    seen: dict[str, np.ndarray] = {}

    def graph(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        seen.update(inputs)
        return {"probability": inputs["prompt"] + 1, "presence": np.full((1, 2, 3), 0.25)}

    model = NanoModel({1: graph}, BANK)
    prompt = np.full((2, 3, 4, 5), 0.5, np.float32) if given else None
    probability, presence = model.predict(
        np.zeros((2, 3, 4, 5), np.float32), prompt, model.embed([query("liver"), query("kidney", "left")]), 1
    )
    assert {k: v.shape for k, v in seen.items()} == {
        "image": (1, 2, 3, 4, 5),
        "prompt": (1, 2, 3, 4, 5),
        "text": (1, 2, 2),
        "side": (1, 2),
        "modality": (1, 2),
    }
    assert {k: v.dtype.name for k, v in seen.items()} == {
        "image": "float32",
        "prompt": "float32",
        "text": "float32",
        "side": "int64",
        "modality": "int64",
    }
    assert (probability == (1.5 if given else 1.0)).all() and probability.shape == (2, 3, 4, 5)
    assert presence.shape == (2, 3)


class CountingRuntime:
    """Gives the file's stem as graph and keeps what was loaded."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def load(self, path: Path, precision: str | None = None) -> object:
        self.loaded.append(path.stem)
        return path.stem


def test_a_graph_is_loaded_when_it_is_wanted_and_once() -> None:
    runtime = CountingRuntime()
    graphs = LazyGraphs({d: Path(f"degree{d}.onnx") for d in range(3)}, runtime)
    assert (len(graphs), list(graphs), runtime.loaded) == (3, [0, 1, 2], [])
    assert [graphs[2], graphs[2], graphs[0]] == ["degree2", "degree2", "degree0"]
    assert runtime.loaded == ["degree2", "degree0"]


def test_a_bank_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "bank.npz"
    np.savez(path, names=np.array(["liver", "spleen"]), vectors=np.array([[1, 2], [3, 4]], np.float16))
    model = NanoModel.load({}, path, CountingRuntime())
    text = model.embed([query("spleen")]).text
    assert text.dtype == np.float32
    np.testing.assert_array_equal(text, [[3, 4]])


class SmallGpu:
    """Answers with the text vector's first number; has room for so many queries."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.asked: list[int] = []

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.asked.append(inputs["text"].shape[1])
        if self.asked[-1] > self.room:
            raise OutOfDeviceMemoryError("full")
        level = inputs["text"][:, :, 0][:, :, None, None, None]
        p = np.broadcast_to(level, inputs["prompt"].shape).astype(np.float32)
        return {"probability": p, "presence": p[..., 0, 0]}


def test_queries_are_halved_until_they_fit_and_stay_so() -> None:
    """Room for 3 of 10: 10 and 5 do not fit, 3 do; the next view is asked in threes at once."""
    names = ["liver", "kidney"] * 5
    gpu = SmallGpu(3)
    model = NanoModel({0: gpu}, BANK)
    embedding = model.embed([query(name) for name in names])
    image = np.zeros((2, 4, 4, 4), np.float32)
    for expected in ([10, 5, 3, 3, 3, 1], [3, 3, 3, 1]):
        gpu.asked.clear()
        probability, presence = model.predict(image, None, embedding, 0)
        assert gpu.asked == expected
        assert probability[:, 0, 0, 0].tolist() == [1.0, 0.0] * 5 and presence.shape == (10, 4)


def test_queries_that_see_each_other_are_not_parted() -> None:
    gpu = SmallGpu(3)
    model = NanoModel({0: gpu}, BANK)
    embedding = model.embed([query("liver")] * 4)
    with pytest.raises(OutOfDeviceMemoryError):
        model.predict(np.zeros((2, 4, 4, 4), np.float32), np.ones((4, 4, 4, 4), np.float32), embedding, 0)
    assert gpu.asked == [4]


def test_a_gpu_too_small_for_one_query_says_so() -> None:
    model = NanoModel({0: SmallGpu(0)}, BANK)
    with pytest.raises(OutOfDeviceMemoryError):
        model.predict(np.zeros((2, 4, 4, 4), np.float32), None, model.embed([query("liver")] * 4), 0)
