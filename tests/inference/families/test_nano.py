"""The family `nano`: what a graph is given, and which graph it is."""

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.inference.fake_models import make_profile
from vesal.inference.data.errors import OutOfDeviceMemoryError, ProfileError
from vesal.inference.data.prompt import Query
from vesal.inference.families.contract import Decoded, RunGraph, Window
from vesal.inference.families.nano import NanoModel, NanoPrompts, ObjectNetwork, graph_paths
from vesal.inference.families.network_input import image_channels, intensity_statistics
from vesal.inference.geometry.views import View
from vesal.inference.planning.profile import Profile

BANK = {"liver": np.array([1.0, 0.0], np.float32), "kidney": np.array([0.0, 2.0], np.float32)}


def query(concept: str, side: str | None = None, modality: str = "CT") -> Query:
    """A query with only what the model reads."""
    return Query(1, concept, concept, side, modality, "organ")


def model_of(graphs: dict[int, RunGraph]) -> NanoModel:
    """Some graphs by degree, with the bank of two concepts."""
    return NanoModel(graphs, BANK, make_profile())


def decode(
    model: NanoModel, image: np.ndarray, spatial: np.ndarray | None, prompts: NanoPrompts, degree: int
) -> Decoded:
    """One window (2, d, h, w), encoded and decoded."""
    return model.decode(model.encode(Window(image, degree)), prompts, spatial, None)


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


def test_a_volume_is_measured_once_and_shown_by_it() -> None:
    """Half 0 and half 200: -1 and one deviation below, 200 / 127.5 - 1 and one above."""
    model, image = model_of({}), np.array([[[0, 200], [200, 0]]], np.uint8)
    view = View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (1, 2, 2), 0, 0)
    shown = model.prepare(image.astype(np.float32), view, model.measure(image))
    np.testing.assert_allclose(shown[0, 0], [[-1, 200 / 127.5 - 1], [200 / 127.5 - 1, -1]], rtol=1e-6)
    np.testing.assert_allclose(shown[1, 0], [[-1, 1], [1, -1]])


@pytest.mark.parametrize(("level", "empty"), [(-1.0, True), (-0.99, False)])
def test_a_window_that_is_black_is_empty(level: float, empty: bool) -> None:
    assert model_of({}).is_empty(np.full((2, 4, 4, 4), level, np.float32)) is empty


def test_encoded_prompts_have_a_row_a_prompt() -> None:
    prompts = model_of({}).encode_prompts([query("kidney", "right", "MR"), query("liver")])
    np.testing.assert_array_equal(prompts.text, [[0, 2], [1, 0]])
    np.testing.assert_array_equal(prompts.side, [2, 0])
    np.testing.assert_array_equal(prompts.modality, [1, 0])
    turned = prompts.part([1, 0])
    np.testing.assert_array_equal(turned.text, [[1, 0], [0, 2]])
    np.testing.assert_array_equal(turned.side, [0, 2])
    np.testing.assert_array_equal(turned.modality, [0, 1])


def test_it_does_what_it_says() -> None:
    """One network for every stage; masks and presence, boxes and points drawn as masks, no sentences."""
    model = model_of({})
    can = model.capabilities
    assert (can.mask, can.presence, can.degrees) == (True, True, True)
    assert (can.boxes, can.points, can.draws()) == (True, True, ("boxes", "points"))
    assert not (can.open_vocabulary or can.edges) and can.stages == ()
    assert model.stage("coarse") is model.stage("any") is model


def test_calls_are_compared_by_degree_and_voxels() -> None:
    assert model_of({}).cost(2, 4096, 3) == ("degree 2", 4096)


def test_the_bank_says_what_is_known() -> None:
    model = model_of({})
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

    model = model_of({1: graph})
    spatial = np.full((2, 3, 4, 5), 0.5, np.float32) if given else None
    prompts = model.encode_prompts([query("liver"), query("kidney", "left")])
    found = decode(model, np.zeros((2, 3, 4, 5), np.float32), spatial, prompts, 1)
    probability, presence = found.probability, found.presence
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
    """Gives a graph of zeros and keeps what was loaded."""

    def __init__(self) -> None:
        self.loaded: list[str] = []

    def load(self, path: Path, precision: str | None = None, one_shape: bool | str = False) -> RunGraph:
        self.loaded.append(path.stem)
        return lambda inputs: {"probability": inputs["prompt"], "presence": inputs["prompt"][..., 0, 0]}


GRAPHS = {str(degree): f"degree{degree}.onnx" for degree in range(3)}


def profile(folder: Path, **family_fields: object) -> Profile:
    """A profile of this family with a bank of two concepts."""
    bank = folder / "bank.npz"
    np.savez(bank, names=np.array(["liver", "spleen"]), vectors=np.array([[1, 2], [3, 4]], np.float16))
    fields = {"graphs": GRAPHS} | family_fields
    return replace(
        make_profile(), folder=folder, bank=bank, files=frozenset(GRAPHS.values()), family_fields=fields
    )


def test_a_graph_is_loaded_when_it_is_wanted_and_once(tmp_path: Path) -> None:
    runtime = CountingRuntime()
    model = NanoModel.open(profile(tmp_path), runtime)
    prompts, image = model.encode_prompts([query("liver")]), np.zeros((2, 4, 4, 4), np.float32)
    assert runtime.loaded == []
    for degree in (2, 2, 0):
        decode(model, image, None, prompts, degree)
    assert runtime.loaded == ["degree2", "degree0"]


def test_a_bank_is_read_from_its_file(tmp_path: Path) -> None:
    model = NanoModel.open(profile(tmp_path), CountingRuntime())
    text = model.encode_prompts([query("spleen")]).text
    assert text.dtype == np.float32
    np.testing.assert_array_equal(text, [[3, 4]])


def test_a_file_that_is_no_bank_is_named(tmp_path: Path) -> None:
    used = profile(tmp_path)
    np.savez(used.bank, names=np.array(["liver"]))
    with pytest.raises(ProfileError, match=r"bank.npz is no bank of text vectors \(.*vectors"):
        NanoModel.open(used, CountingRuntime())


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"graphs": {"0": "a.onnx", "2": "c.onnx"}}, "missing required field `1` - at `$.graphs`"),
        ({"graphs": GRAPHS | {"3": "d.onnx"}}, "unknown field `3` - at `$.graphs`"),
        ({"graphs": GRAPHS | {"1": {"plain": "b.onnx"}}}, "`str`, got `object` - at `$.graphs.1`"),
        ({"network": {}}, "unknown field `network` - at `$`"),
    ],
)
def test_fields_that_this_family_does_not_have_are_named(tmp_path: Path, fields: dict, said: str) -> None:
    with pytest.raises(ProfileError) as caught:
        NanoModel.open(profile(tmp_path, **fields), CountingRuntime())
    assert said in str(caught.value) and "manifest.json" in str(caught.value)


def test_graphs_are_known_by_degree(tmp_path: Path) -> None:
    assert graph_paths(profile(tmp_path)) == {d: tmp_path / f"degree{d}.onnx" for d in range(3)}


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
    model = model_of({0: gpu})
    prompts = model.encode_prompts([query(name) for name in names])
    image = np.zeros((2, 4, 4, 4), np.float32)
    for expected in ([10, 5, 3, 3, 3, 1], [3, 3, 3, 1]):
        gpu.asked.clear()
        found = decode(model, image, None, prompts, 0)
        probability, presence = found.probability, found.presence
        assert gpu.asked == expected
        assert probability[:, 0, 0, 0].tolist() == [1.0, 0.0] * 5 and presence.shape == (10, 4)


def test_queries_that_see_each_other_are_not_parted() -> None:
    gpu = SmallGpu(3)
    model = model_of({0: gpu})
    prompts = model.encode_prompts([query("liver")] * 4)
    with pytest.raises(OutOfDeviceMemoryError):
        decode(model, np.zeros((2, 4, 4, 4), np.float32), np.ones((4, 4, 4, 4), np.float32), prompts, 0)
    assert gpu.asked == [4]


def test_a_gpu_too_small_for_one_query_says_so() -> None:
    model = model_of({0: SmallGpu(0)})
    with pytest.raises(OutOfDeviceMemoryError):
        prompts = model.encode_prompts([query("liver")] * 4)
        decode(model, np.zeros((2, 4, 4, 4), np.float32), None, prompts, 0)


def telling(inner: float, fewer_than: int | None = None) -> RunGraph:
    """A graph with a head for objects, which runs out of memory with so many prompts."""

    def graph(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        prompt = inputs["prompt"]
        if fewer_than is not None and prompt.shape[1] >= fewer_than:
            raise OutOfDeviceMemoryError("too many")
        return {"probability": prompt + 0.5, "presence": prompt[..., 0, 0], "inner": prompt + inner}

    return graph


def with_head(graph: RunGraph, modality: int = 1) -> NanoModel:
    """A model whose head is for one modality; its other graph says 0.25."""
    plain = {
        0: lambda inputs: {"probability": inputs["prompt"] + 0.25, "presence": inputs["prompt"][..., 0, 0]}
    }
    return NanoModel(plain, BANK, make_profile(), ObjectNetwork({0: graph}, frozenset([modality])))


def test_a_head_is_run_where_all_prompts_are_of_its_modality() -> None:
    model, image = with_head(telling(0.75)), np.zeros((2, 4, 4, 4), np.float32)
    assert model.capabilities.edges
    mine, other = query("liver", modality="MR"), query("kidney", modality="CT")
    found = decode(model, image, None, model.encode_prompts([mine, mine]), 0)
    assert (found.probability == 0.5).all() and found.edges is not None and (found.edges == 0.25).all()
    for queries in ([other], [mine, other]):
        found = decode(model, image, None, model.encode_prompts(queries), 0)
        assert found.edges is None and (found.probability == 0.25).all()


def test_edges_that_are_not_used_are_left_out_and_the_mask_is_the_same() -> None:
    model = with_head(telling(0.75))
    prompts = model.encode_prompts([query("liver", modality="MR")])
    found = model.decode(Window(np.zeros((2, 4, 4, 4), np.float32), 0, edges=False), prompts, None, None)
    assert found.edges is None and (found.probability == 0.5).all()


def test_edges_of_prompts_that_are_run_in_turn_are_joined() -> None:
    model = with_head(telling(0.75, fewer_than=2))
    prompts = model.encode_prompts([query("liver", modality="MR")] * 3)
    found = decode(model, np.zeros((2, 4, 4, 4), np.float32), None, prompts, 0)
    assert found.edges is not None and found.edges.shape == found.probability.shape == (3, 4, 4, 4)


def test_the_heads_graphs_are_named_in_the_manifest_and_checked(tmp_path: Path) -> None:
    named = {"modalities": ["Microscopy"], "graphs": {str(d): f"objects{d}.onnx" for d in range(3)}}
    with pytest.raises(ProfileError, match=r"uses objects0.onnx but gives no sha256"):
        NanoModel.open(profile(tmp_path, objects=named), CountingRuntime())
    with pytest.raises(ProfileError, match=r"modalities"):
        NanoModel.describe(profile(tmp_path, objects=named | {"modalities": ["X-ray"]}))
    assert NanoModel.describe(profile(tmp_path, objects=named)).edges
    assert not NanoModel.describe(profile(tmp_path)).edges
