"""One stage of Medal S and SAT: what a window becomes on its way into the graph and back."""

from pathlib import Path

import numpy as np
import pytest

from vesal.inference.families.contract import Embedding, RunGraph
from vesal.inference.families.lazy_graph import LazyGraph
from vesal.inference.families.network_input import image_channels
from vesal.inference.families.query_bank import QueryBank
from vesal.inference.families.query_stage import GraphMemory, QueryStage, padded_sides, sigmoid

BANK = QueryBank({}, np.zeros((5, 2), np.float32))


class Recorder:
    """A graph that keeps its inputs and answers with the image, once for each query."""

    def __init__(self) -> None:
        self.inputs: dict[str, np.ndarray] = {}

    def __call__(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Logits (1, N, d, h, w): intensities less 100."""
        self.inputs = inputs
        n = inputs["text"].shape[1]
        return {"logits": np.repeat(inputs["image"] - 100.0, n, 1)}


def embedding(count: int) -> Embedding:
    """Queries of N prompts."""
    zeros = np.zeros(count, np.int64)
    return Embedding(np.ones((count, 2), np.float32), zeros, zeros)


def test_the_graph_sees_raw_intensities_padded_with_black() -> None:
    graph = Recorder()
    image = np.random.default_rng(0).integers(0, 256, (5, 40, 64)).astype(np.uint8)
    probability, presence = QueryStage(graph, None, BANK).predict(
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
    QueryStage(plain, prompted, BANK).predict(image, prompt, embedding(2))
    assert not plain.inputs
    seen = prompted.inputs["prompt"]
    assert seen.shape == (1, 2, 32, 64, 32) and seen.dtype == np.float32
    assert seen.sum() == 1.25 and seen[0, 0, 3, 4, 5] == 1, "the rules decide between masks and probabilities"


def test_prompts_of_zeros_take_the_network_without_prompts() -> None:
    plain, prompted = Recorder(), Recorder()
    image = np.zeros((2, 64, 32, 32), np.float32)
    QueryStage(plain, prompted, BANK).predict(image, np.zeros((1, 64, 32, 32), np.float32), embedding(1))
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


def test_no_other_stage_frees_a_graph_while_it_runs() -> None:
    """A stage holds the memory while its graph runs, and lets it go where the graph breaks off."""
    memory = GraphMemory()
    held: list[bool] = []

    class Runtime:
        def load(self, path: Path, precision: str | None = None) -> RunGraph:
            return self.run

        def run(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            held.append(memory._lock.locked())
            if len(held) == 2:
                raise ValueError("the second window breaks off")
            return {"logits": inputs["image"]}

    stages = [QueryStage(LazyGraph(Path(name), Runtime()), None, BANK, memory) for name in "ab"]
    image = np.zeros((2, 64, 32, 32), np.float32)
    stages[0].predict(image, None, embedding(1))
    with pytest.raises(ValueError, match="breaks off"):
        stages[1].predict(image, None, embedding(1))
    stages[0].predict(image, None, embedding(1))
    assert held == [True] * 3 and not memory._lock.locked()
