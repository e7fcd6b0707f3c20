"""One stage of Medal S and SAT: what a window becomes on its way into the graph and back."""

from pathlib import Path

import numpy as np
import pytest

from tests.inference.families.query_graphs import Recorder, queries
from vesal.inference.families.contract import Decoded, RunGraph, Window
from vesal.inference.families.lazy_graph import LazyGraph
from vesal.inference.families.query_stage import GraphMemory, QueryStage, padded_sides
from vesal.inference.geometry.views import View

IMAGE = np.zeros((1, 64, 32, 32), np.float32)


def stage(prompts: bool = True) -> tuple[QueryStage, Recorder, Recorder, Recorder]:
    """A stage and its graphs; the last one takes spatial prompts, and is its own with ``prompts`` only."""
    encoder, embed, prompted = (Recorder(role) for role in ("encoder", "embed", "prompted"))
    return QueryStage(encoder, embed, prompted if prompts else None), encoder, embed, prompted


def run(used: QueryStage, image: np.ndarray, spatial: np.ndarray | None, count: int) -> Decoded:
    """One window (1, d, h, w) for N queries."""
    window = Window(image, 0, prompted=spatial is not None)
    return used.decode(used.encode(window), queries(count), spatial, None)


def test_the_graph_sees_raw_intensities_padded_with_black() -> None:
    used, encoder, _, _ = stage(prompts=False)
    image = np.random.default_rng(0).integers(0, 256, (5, 40, 64)).astype(np.uint8)
    view = View((0.0,) * 3, (1.0,) * 3, (5, 40, 64), 0, 0)
    prepared = used.prepare(image.astype(np.float32), view, None)
    found = run(used, prepared, None, 3)
    assert encoder.inputs["image"].shape == (1, 1, 32, 64, 64) and set(encoder.inputs) == {"image"}
    assert np.allclose(encoder.inputs["image"][0, 0, :5, :40], image, atol=1e-4)
    assert np.abs(encoder.inputs["image"][0, 0, 5:]).max() == 0
    assert found.probability.shape == (3, 5, 40, 64) and found.presence is None
    assert np.array_equal(found.probability[2] > 0.5, image > 100)


def test_only_black_windows_are_empty() -> None:
    used, *_ = stage()
    assert used.is_empty(IMAGE)
    bright = IMAGE.copy()
    bright[0, 3, 4, 5] = 1
    assert not used.is_empty(bright)


def test_prompts_are_padded_like_the_image_and_else_as_they_are() -> None:
    used, encoder, embed, prompted = stage()
    prompt = np.zeros((2, 32, 40, 32), np.float32)
    prompt[0, 3, 4, 5], prompt[1, 0, 0, 0] = 1.0, 0.25
    run(used, np.zeros((1, 32, 40, 32), np.float32), prompt, 2)
    assert not encoder.inputs and not embed.inputs, "the graph with prompts gives masks as well"
    seen = prompted.inputs["prompt"]
    assert seen.shape == (1, 2, 32, 64, 32) and seen.dtype == np.float32
    assert seen.sum() == 1.25 and seen[0, 0, 3, 4, 5] == 1, "the rules decide between masks and probabilities"


def test_prompts_of_zeros_take_the_network_without_prompts() -> None:
    used, encoder, embed, prompted = stage()
    run(used, IMAGE, np.zeros((1, 64, 32, 32), np.float32), 1)
    assert encoder.inputs and embed.inputs and not prompted.inputs


def test_groups_give_what_one_group_gives_and_run_the_network_once() -> None:
    used, encoder, embed, _ = stage()
    image = np.random.default_rng(0).random((1, 64, 32, 32)).astype(np.float32)
    whole, asked = run(used, image, None, 5).probability, queries(5)
    encoded = used.encode(Window(image, 0))
    parts = [used.decode(encoded, asked.part(rows), None, None) for rows in ([0, 1], [2, 3], [4])]
    assert np.allclose(np.concatenate([part.probability for part in parts]), whole, atol=1e-6)
    assert len(encoder.calls) == 2, "one for each encoding"
    assert len(embed.calls) == 4, "one for all, and one for each group"


def test_several_halves_of_the_spatial_prompts_share_the_encoding_without_any() -> None:
    """Of complementary prompts one half may be empty; it takes the network without prompts, once."""
    used, encoder, _, prompted = stage()
    encoded = used.encode(Window(IMAGE, 0, prompted=True))
    assert not encoder.calls, "the image is encoded with its prompts"
    some, none = np.ones((1, 64, 32, 32), bool), np.zeros((1, 64, 32, 32), bool)
    for spatial in (some, none, none):
        used.decode(encoded, queries(1), spatial, None)
    assert len(prompted.calls) == 1 and len(encoder.calls) == 1


def test_a_network_without_prompts_encodes_at_once() -> None:
    used, encoder, _, _ = stage(prompts=False)
    used.encode(Window(IMAGE, 0, prompted=True))
    assert len(encoder.calls) == 1


def test_what_was_decoded_once_is_not_embedded_again() -> None:
    used, _, embed, _ = stage()
    encoded = used.encode(Window(IMAGE, 0))
    for count in (2, 3, 3):
        used.decode(encoded, queries(count), None, None)
    assert [call["text"][0, :, 0].tolist() for call in embed.calls] == [[1, 2], [3]]


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


def test_no_other_stage_frees_a_graph_while_it_runs() -> None:
    """A stage holds the memory while its graph runs, and lets it go where the graph breaks off."""
    memory = GraphMemory()
    held: list[bool] = []

    class Runtime:
        def load(self, path: Path, precision: str | None = None, one_shape: bool | str = False) -> RunGraph:
            return self.run

        def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            held.append(memory._lock.locked())
            if len(held) == 2:
                raise ValueError("the second window breaks off")
            return Recorder("encoder")(inputs)

    def graph(name: str) -> LazyGraph:
        return LazyGraph(Path(name), Runtime())

    stages = [QueryStage(graph(name), graph(name), None, memory) for name in "ab"]
    stages[0].encode(Window(IMAGE, 0))
    with pytest.raises(ValueError, match="breaks off"):
        stages[1].encode(Window(IMAGE, 0))
    run(stages[0], IMAGE, None, 1)
    assert held == [True] * 4 and not memory._lock.locked()
