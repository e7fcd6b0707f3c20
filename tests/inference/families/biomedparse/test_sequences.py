"""Slices that see each other: which of them the graphs get together, and what becomes of the logits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from tests.inference.fake_models import FAKE_RUNTIME, make_prompt, segment
from tests.samples.biomedparse_weights import HEADS, LAYERS, QUERIES, write_biomedparse_weights
from vesal.inference.data.errors import ProfileError
from vesal.inference.engine import Engine
from vesal.inference.families.biomedparse.fields import BiomedParseFields
from vesal.inference.families.biomedparse.network import SliceNetwork, Words
from vesal.inference.families.biomedparse.sequences import SequenceNetwork
from vesal.inference.families.contract import Decoded, Window
from vesal.inference.families.registry import check_profile, open_model
from vesal.inference.geometry.dual_rate import DualRate, merged
from vesal.inference.planning.profile import read_profile
from vesal.inference.runtime.choice import choose_runtime

Arrays = dict[str, np.ndarray]
SIDE = 8
WORDS = Words(("a", "b"), (np.ones((2, 1), np.float32), np.ones((3, 1), np.float32)), 3)
DUAL = {"dense": 1, "sparse": 2, "depth": 7}
CROSS = {"heads": 1, "offset": 2}


def fields(**changes: Any) -> BiomedParseFields:
    """Those of a network with full attention."""
    graphs = {"image": "i", "text": "t", "decoder_full": "d"}
    return msgspec.convert(
        {"graphs": graphs, "tokenizer": "k", "attention": "full", "cross_slice": CROSS, **changes},
        BiomedParseFields,
    )


class Graphs:
    """Stand-ins for the graphs: the logit of a slice is its grey level and a tenth of that two slices on."""

    def __init__(self) -> None:
        self.sequences: list[list[int]] = []

    def image(self, inputs: Arrays) -> Arrays:
        """(S, 3, h, w) -> its first pixels."""
        image = inputs["image"]
        self.sequences.append(image[:, 0, 0, 0].astype(int).tolist())
        return {"mask_features": image[:, 0, :2, :2], "features_0": image}

    def decoder(self, inputs: Arrays) -> Arrays:
        """The logits of as many prompts as there are words for; existence is that of the first pixel."""
        own = inputs["mask_features"]
        other = own.copy()
        other[:-2] = own[2:]
        prompts = np.arange(inputs["tokens"].shape[1], dtype=np.float32)
        mask = (own + other / 10 - 5)[None] / 10 + prompts[:, None, None, None]
        return {"mask": mask, "edges": -mask, "existence": mask[:, :, 0, 0]}


def window(first: int, count: int, length: int, around: int) -> Window:
    """Some slices of a view whose grey levels are their numbers."""
    places = np.arange(first - around - 1, first + count + around + 1).clip(0, length - 1)
    image = np.broadcast_to(places[:, None, None], (len(places), SIDE, SIDE)).astype(np.float32)
    behind = length - first - count
    return Window(image[None], 0, around + 1, first=first + 100, before=first, behind=behind, measured=b"")


def whole(model: SliceNetwork, length: int, run: int, around: int) -> Decoded:
    """A view, so many slices at a time."""
    found = []
    for first in range(0, length, run):
        encoded = model.encode(window(first, min(run, length - first), length, around))
        found.append(model.decode(encoded, WORDS, None, None))
    parts = {name: [getattr(each, name) for each in found] for name in ("probability", "presence", "edges")}
    return Decoded(**{name: np.concatenate(arrays, 1) for name, arrays in parts.items()})


def logit(probability: np.ndarray) -> np.ndarray:
    """What a sigmoid was taken of, any shape."""
    return np.log(probability / (1 - probability))


@pytest.mark.parametrize("given", [{"pairs": 16}, {"groups": "single"}, {"pairs": 1}])
def test_a_slice_gets_the_merged_logits_of_its_sequences(given: dict[str, Any]) -> None:
    setting = msgspec.convert(DUAL, DualRate)
    graphs = Graphs()
    found = whole(SequenceNetwork(graphs.image, graphs.decoder, fields(**given), setting), 9, 3, 6)

    def by_hand(slices: np.ndarray) -> np.ndarray:
        there = np.concatenate([slices[2:], slices[-2:]]) if len(slices) > 2 else slices
        return (slices + there / 10 - 5) / 10

    wanted = merged(by_hand, 9, setting)
    # A group of one prompt knows no other, so here its number is 0 again.
    alone = given != {"pairs": 16}
    for prompt in range(2):
        more = 0 if alone else prompt
        np.testing.assert_allclose(logit(found.presence[prompt]), wanted + more, rtol=1e-4, atol=1e-5)
        assert found.edges is not None
        for array, sign in ((found.probability, 1), (found.edges, -1)):
            np.testing.assert_allclose(array[prompt, :, 1, 1], sign * (wanted + more), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("run", [1, 4, 23])
def test_whatever_is_run_at_once_changes_nothing(run: int) -> None:
    setting = msgspec.convert(DUAL, DualRate)

    def found(run: int) -> Decoded:
        graphs = Graphs()
        return whole(SequenceNetwork(graphs.image, graphs.decoder, fields(), setting), 23, run, 6)

    assert np.array_equal(found(run).probability, found(12).probability)
    assert np.array_equal(found(run).presence, found(12).presence)


def test_the_graphs_get_the_sequences_of_a_view() -> None:
    graphs = Graphs()
    whole(SequenceNetwork(graphs.image, graphs.decoder, fields(), DualRate()), 8, 8, 6)
    assert graphs.sequences == [[0, 1, 2, 3, 4, 5, 6], [0, 2, 4, 6], [1, 2, 3, 4, 5, 6, 7], [1, 3, 5, 7]]
    graphs.sequences.clear()
    whole(SequenceNetwork(graphs.image, graphs.decoder, fields(), DualRate(sparse=0)), 5, 5, 6)
    assert graphs.sequences == [[0, 1, 2, 3, 4]]


def test_draws_are_those_of_the_slices_in_the_volume(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not of their place in a sequence: the same slice gets the same in either."""
    asked: list[tuple[int, ...]] = []

    def draw(case: bytes, sentences: object, numbers: tuple[int, ...], *_: object) -> Arrays:
        asked.append(numbers)
        return {}

    monkeypatch.setattr("vesal.inference.families.biomedparse.network.draw_inputs", draw)
    graphs, sampled = (
        Graphs(),
        fields(attention="boltzmann", graphs={"image": "i", "text": "t", "decoder": "d"}),
    )

    def image(inputs: Arrays) -> Arrays:
        return graphs.image(inputs) | {f"key_{level}": np.zeros((1, 4, 1)) for level in range(3)}

    whole(SequenceNetwork(image, graphs.decoder, sampled, DualRate()), 7, 7, 6)
    assert sorted(set(asked)) == [tuple(range(100, 107)), (100, 102, 104, 106)]


def test_slices_without_others_around_them_are_a_run_by_themselves() -> None:
    graphs, plain = Graphs(), Graphs()
    found = whole(SequenceNetwork(graphs.image, graphs.decoder, fields(), DualRate()), 4, 1, 0)
    other = whole(SliceNetwork(plain.image, plain.decoder, fields()), 4, 1, 0)
    assert graphs.sequences == [[0], [1], [2], [3]]
    assert np.array_equal(found.probability, other.probability)


NETWORK = {"heads": HEADS, "layers": LAYERS, "queries": QUERIES, "multiple": 16}


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Writes weights whose slices do not see each other, whatever the manifest says."""

    def write(**changes: Any) -> Path:
        crossed = changes.pop("built", None)
        network = NETWORK | ({"cross_slice": crossed} if crossed else {})
        return write_biomedparse_weights(tmp_path / "weights", network=network, **changes)

    return write


def run(folder: Path, image: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels of a case, and what the plan says."""
    model = open_model(read_profile(folder), choose_runtime("onnxruntime", 1))
    engine = Engine(read_profile(folder), FAKE_RUNTIME, model)
    found = segment(engine, image, [make_prompt(1, None, text="liver"), make_prompt(2, None, text="spleen")])
    return found.labels, tuple(found.notes)


def made_image() -> np.ndarray:
    """A bright and a less bright box in 20 slices."""
    image = np.full((20, 32, 32), 20, np.uint8)
    image[3:15, 4:16, 4:16], image[6:19, 16:28, 12:28] = 200, 120
    return image


def test_a_case_through_the_engine(written: Callable[..., Path]) -> None:
    """The graphs of the sample see single slices, so nothing may change by rounding alone."""
    plain, _ = run(written(), made_image())
    crossed, notes = run(written(cross_slice=CROSS, dual_rate=DUAL, built=CROSS), made_image())
    assert np.array_equal(plain, crossed)
    assert set(np.unique(plain)) == {0, 1, 2}
    assert any("7 slices run together at rate 1 and 2, heads that look +2 slices away" in n for n in notes)


def test_two_rates_without_heads_for_them_are_left_out(written: Callable[..., Path]) -> None:
    _, notes = run(written(dual_rate=DUAL, cross_slice={"heads": 0}), made_image())
    assert any("dual_rate changes nothing" in note for note in notes)


@pytest.mark.parametrize(("asked", "built"), [(CROSS, None), (None, CROSS), (CROSS, {"heads": 2})])
def test_graphs_that_look_elsewhere_are_refused(
    written: Callable[..., Path], asked: dict | None, built: dict | None
) -> None:
    folder = written(built=built, **({"cross_slice": asked} if asked else {}))
    with pytest.raises(ProfileError, match=r"`\$\.cross_slice` asks for heads .* --cross-slice"):
        check_profile(read_profile(folder))


def test_settings_are_checked_by_name(written: Callable[..., Path]) -> None:
    with pytest.raises(ProfileError, match=r"`sparse` is 1.*`\$\.dual_rate`"):
        check_profile(read_profile(written(dual_rate={"sparse": 1})))
