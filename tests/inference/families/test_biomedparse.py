"""Family ``biomedparse-v`` on graphs with a known answer: plans, groups, draws, and whole cases."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the graphs are written with onnx")
pytest.importorskip("onnxruntime", reason="the graphs are run")

from tests.inference.fake_models import FAKE_RUNTIME, made_image, make_case, make_prompt, segment  # noqa: E402
from tests.samples.biomedparse_weights import SIDE, manifest_of, write_biomedparse_weights  # noqa: E402
from vesal.inference.api import Model, load  # noqa: E402
from vesal.inference.data.errors import ProfileError  # noqa: E402
from vesal.inference.engine import Engine  # noqa: E402
from vesal.inference.families.biomedparse import network  # noqa: E402
from vesal.inference.families.biomedparse.network import SliceNetwork, enlarge, equal_groups  # noqa: E402
from vesal.inference.families.contract import Decoded  # noqa: E402
from vesal.inference.families.registry import open_model  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.runtime.choice import choose_runtime  # noqa: E402
from vesal.inference.timing.clock import Clock  # noqa: E402

LIVER, SPLEEN = (slice(3, 8), slice(8, 24), slice(8, 24)), (slice(6, 11), slice(8, 24), slice(30, 46))
IMAGE = made_image((12, 40, 52), (LIVER, 200), (SPLEEN, 120))
SENTENCES = ["Liver in CT", "spleen in CT"]
SPACING_MM = (3.0, 1.0, 1.0)

Write = Callable[..., Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder, made once."""
    return write_biomedparse_weights(tmp_path_factory.mktemp("made") / "weights")


@pytest.fixture
def write(made: Path, tmp_path: Path) -> Write:
    """The folder with some fields of its manifest changed."""

    def write(**changes: Any) -> Path:
        folder = tmp_path / f"weights-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for file in made.iterdir():
            if file.suffix in (".onnx", ".json"):
                (folder / file.name).write_bytes(file.read_bytes())
        fields = manifest_of(made) | changes
        (folder / "manifest.json").write_text(json.dumps({k: v for k, v in fields.items() if v is not None}))
        return folder

    return write


def opened(folder: Path) -> Model:
    return load(folder, runtime="onnxruntime", threads=1)


def rules_with(layout: dict[str, Any], made: Path) -> list[dict[str, Any]]:
    """The stages with some fields of the last one's layout changed."""
    coarse, fine = manifest_of(made)["stages"]
    return [coarse, fine | {"layout": fine["layout"] | layout}]


def test_a_case_is_segmented_by_its_sentences(made: Path) -> None:
    result = opened(made).segment(IMAGE, SPACING_MM, SENTENCES)
    for id_, box in ((1, LIVER), (2, SPLEEN)):
        truth = np.zeros(IMAGE.shape, bool)
        truth[box] = True
        found = result.labels == id_
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.7
    (stage,) = result.report["stages"]
    assert stage["stage"] == "fine" and stage["windows"] == 12 and stage["grid"] == [12, SIDE, SIDE]
    assert [p["asked_as"] for p in result.report["prompts"]] == ["sentence", "sentence"]
    assert result.probability(0).max() > 0.9 and result.edges(0).max() > 0.9


def test_the_report_says_how_the_case_is_run(write: Write) -> None:
    def notes(**changes: Any) -> str:
        report = opened(write(**changes)).segment(IMAGE, SPACING_MM, SENTENCES).report
        return "\n".join(report["notes"])

    released = notes()
    assert "slices lie along D" in released and "below 0.5" in released
    assert "attention: Boltzmann" in released and "longest sentence" in released
    assert "1 slice(s) on each side, reflect" in released
    changed = notes(attention="full", groups="single", order=2, paper=True)
    assert "attention: full" in changed and "stands alone" in changed
    assert "4 slice(s) on each side, edge" in changed
    assert "reflect" in notes(paper=True, padding="reflect")


@pytest.mark.parametrize(
    ("shape", "released", "paper"),
    [((30, 90, 31), "D", "H"), ((50, 100, 300), "D", "W"), ((40, 9, 44), "H", "H")],
)
def test_the_view_as_released_and_as_in_the_paper(
    shape: tuple[int, int, int], released: str, paper: str, made: Path, write: Write
) -> None:
    case = make_case(np.zeros(shape, np.uint8), [])
    prompts = [make_prompt(1, "liver")]
    for folder, axis in (
        (made, released),
        (write(paper=True), paper),
        (write(paper=True, views="released"), released),
        (write(views="paper"), paper),
    ):
        profile = read_profile(folder)
        plan = open_model(profile, choose_runtime("onnxruntime", 1)).plan(prompts, profile, case)
        assert plan.batches[0].stages[-1].layout.axis == "DHW".index(axis)
        assert any(f"along {axis}" in note for note in plan.notes)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("attention", ["boltzmann", "full"])
def test_batches_of_slices_and_of_prompts_change_nothing(
    axis: int, attention: str, made: Path, write: Write
) -> None:
    """Runs of 1 to 4 slices, 1 to 16 pairs at once, slices along any axis."""
    image = np.ascontiguousarray(np.moveaxis(IMAGE[:7], 0, axis))
    first = opened(write(attention=attention)).segment(image, SPACING_MM, SENTENCES)
    assert first.labels.any()
    for run, pairs in ((1, 1), (2, 3), (3, 16), (4, 1)):
        folder = write(attention=attention, pairs=pairs, stages=rules_with({"run": run}, made))
        again = opened(folder).segment(image, SPACING_MM, SENTENCES)
        assert np.array_equal(again.labels, first.labels)
        for i in range(2):
            np.testing.assert_allclose(again.probability(i), first.probability(i), atol=1e-5)


def test_the_order_of_prompts_changes_nothing_and_draws_are_always_the_same(made: Path) -> None:
    model = opened(made)
    one, again = (model.segment(IMAGE, SPACING_MM, dict(enumerate(SENTENCES, 1))) for _ in range(2))
    other = model.segment(IMAGE, SPACING_MM, {2: SENTENCES[1], 1: SENTENCES[0]})
    for result in (again, other):
        assert np.array_equal(one.labels, result.labels)
        assert np.array_equal(one.probability(1), result.probability(1))
        assert np.array_equal(one.edges(2), result.edges(2))


def decoder_inputs(folder: Path, image: np.ndarray, sentences: list[str]) -> list[dict[str, np.ndarray]]:
    """What the decoder graph was given."""
    profile, runtime = read_profile(folder), Spy()
    engine = Engine(profile, FAKE_RUNTIME, open_model(profile, runtime))
    segment(engine, image, [make_prompt(n, None, text=text) for n, text in enumerate(sentences, 1)])
    return runtime.given


class Spy:
    """A runtime that keeps what decoders are given, on a clock of its own if there is one."""

    def __init__(self) -> None:
        self.given: list[dict[str, np.ndarray]] = []
        self.at = 0.0
        self._runtime = choose_runtime("onnxruntime", 1)

    def load(self, path: Path, precision: str | None = None, one_shape: bool | str = False) -> Any:
        graph = self._runtime.load(path, precision, one_shape)

        def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            if path.stem.startswith("decoder"):
                self.given.append(inputs)
            if path.stem == "image":
                self.at += inputs["image"].size / (3 * SIDE**2)  # a second for a slice of the full size
            return graph(inputs)

        return run


def test_draws_hang_on_case_sentence_and_slice(made: Path) -> None:
    other = IMAGE.copy()
    other[0, 0, 0] += 1
    first, swapped, changed = (
        decoder_inputs(made, image, texts)
        for image, texts in ((IMAGE, SENTENCES), (IMAGE, SENTENCES[::-1]), (other, SENTENCES))
    )
    for slice_, (mine, theirs, moved) in enumerate(zip(first, swapped, changed, strict=True)):
        for name in (name for name in mine if name.startswith("draws")):
            assert mine[name].min() >= 0 and mine[name].max() < 1
            assert np.array_equal(mine[name], theirs[name][::-1])
            assert not np.array_equal(mine[name], moved[name])
            assert not np.array_equal(mine[name][0], mine[name][1])
            if slice_:
                assert not np.array_equal(mine[name], first[0][name])
    heights = {mine["draws_2"].shape for mine in first}
    assert heights == {(2, 1, 2, 16, (SIDE // 8) ** 2)}


def test_a_group_is_filled_up_to_its_longest_sentence(made: Path, write: Write) -> None:
    """Two marks and the words; what is added is 0."""
    long = "left kidney in CT liver spleen"
    (whole, *_), (alone, *others) = (
        decoder_inputs(folder, IMAGE, ["liver", long]) for folder in (made, write(groups="single"))
    )
    assert whole["tokens"].shape == (8, 2, 2)
    assert whole["tokens"][:3, 0, 1].all() and not whole["tokens"][3:, 0].any()
    assert alone["tokens"].shape == (3, 2, 2) and others[0]["tokens"].shape == (8, 2, 2), "each twice"
    for inputs in (alone, *others):
        assert all(np.array_equal(a[:, 0], a[:, 1]) for n, a in inputs.items() if n == "tokens")
        assert all(np.array_equal(a[0], a[1]) for n, a in inputs.items() if n.startswith("draws_"))
    pairs = decoder_inputs(write(pairs=1), IMAGE, ["liver", long])
    assert {inputs["tokens"].shape for inputs in pairs} == {(8, 2, 2)}, "a part of a group is still filled up"


def test_a_sentence_goes_to_the_encoder_as_it_stands_and_in_any_case(made: Path) -> None:
    for text, level in (("LIVER", 200), ("liver Left", 201), ("something unheard of", 0)):
        (given, *_) = decoder_inputs(made, IMAGE, [text])
        assert given["tokens"][:, 0, 0].sum() == level


def test_a_long_sentence_is_cut_and_told(made: Path) -> None:
    """200 words: the text encoder reads 75 of them."""
    text = " ".join(["liver", *["ct"] * 199])
    model = opened(made)
    result = model.segment(IMAGE, SPACING_MM, [text, "spleen"])
    assert any(
        "prompt 1 has 200 tokens, of which" in note and "75" in note for note in result.report["notes"]
    )
    assert not any("prompt 2" in note for note in result.report["notes"])
    (given, *_) = decoder_inputs(made, IMAGE, [text])
    assert given["tokens"].shape[0] == 77
    assert (result.labels == 2).any()


@pytest.mark.parametrize("shape", [(1, 40, 52), (9, 1, 700), (1, 1, 700), (1, 1, 1), (700, 1, 1), (3, 2, 2)])
def test_odd_volumes_get_a_label_map(shape: tuple[int, int, int], made: Path, write: Write) -> None:
    """One slice is its own neighbour; a plane of 1 x 700 is filled up to a square."""
    image = np.full(shape, 200, np.uint8)
    for folder in (made, write(two_stage=True), write(labels="interpolated"), write(order=6, paper=True)):
        result = opened(folder).segment(image, SPACING_MM, SENTENCES)
        assert result.labels.shape == shape
        assert not result.report["fallbacks"]
        if min(shape[1:]) > 2:
            assert (result.labels[:, 10:-10, 10:-10] == 1).all()


def test_labels_go_back_by_nearest_pixel_or_by_interpolation(made: Path, write: Write) -> None:
    """208 pixels of a square from 64: pixel floor(i 64 / 208)."""
    image = IMAGE.repeat(4, 1).repeat(4, 2)
    found, smooth = (
        opened(folder).segment(image, SPACING_MM, SENTENCES).labels[6, 64]
        for folder in (made, write(labels="interpolated"))
    )
    pixels = np.arange(208) * 64 // 208
    assert all(len(set(found[pixels == pixel])) == 1 for pixel in range(64)) and {1, 2} <= set(found)
    assert {1, 2} <= set(smooth) and not np.array_equal(smooth, found)


def test_two_stages_run_the_region_alone(write: Write) -> None:
    """The coarse stage runs every third slice at half the size, the fine one the slices of what it found."""
    result = opened(write(two_stage=True)).segment(IMAGE, SPACING_MM, ["liver"])
    coarse, fine = result.report["stages"]
    assert (coarse["stage"], coarse["windows"], coarse["grid"]) == ("coarse", 5, [12, SIDE // 2, SIDE // 2])
    assert "7 runs of slices between others interpolated" in coarse["why"]
    assert fine["windows"] < 12 and fine["grid"] == [fine["windows"], SIDE, SIDE]
    assert fine["spacing_dhw_mm"][1] < 52 / SIDE, "the region is smaller than the slice, and seen larger"
    found = np.flatnonzero((result.labels == 1).any((1, 2)))
    assert found[0] <= 4 and found[-1] >= 6 and not (result.labels[:, :, 30:] == 1).any()


def test_two_stages_find_nothing_in_an_empty_volume(write: Write) -> None:
    result = opened(write(two_stage=True)).segment(np.full((9, 20, 20), 20, np.uint8), SPACING_MM, ["liver"])
    assert not result.labels.any() and len(result.report["stages"]) == 1


def run_in(seconds: float, folder: Path) -> tuple[Any, float]:
    """A case with so many seconds, where a slice of the full size takes one."""
    profile, runtime = read_profile(folder), Spy()
    engine = Engine(profile, FAKE_RUNTIME, open_model(profile, runtime))
    prompts = [make_prompt(1, "liver"), make_prompt(2, "spleen")]
    image = made_image((24, 40, 52), ((slice(6, 16), *LIVER[1:]), 200), ((slice(12, 22), *SPLEEN[1:]), 120))
    return segment(engine, image, prompts, Clock(seconds, 0.0, lambda: runtime.at)), runtime.at


def test_time_is_kept_for_masks_that_are_enlarged_at_the_end(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.03 s a plane, which is 1.4 s for 24 slices of two targets."""
    profile, runtime, enlarged = read_profile(made), Spy(), []

    def slow(logits: np.ndarray, plane: tuple[int, int]) -> np.ndarray:
        runtime.at += 0.03 * len(logits)
        enlarged.append(len(logits))
        return enlarge(logits, plane)

    monkeypatch.setattr(network, "enlarge", slow)
    engine = Engine(profile, FAKE_RUNTIME, open_model(profile, runtime))
    prompts = [make_prompt(1, "liver"), make_prompt(2, "spleen")]
    image = made_image((24, 40, 52), ((slice(0, 24), *LIVER[1:]), 200), ((slice(0, 24), *SPLEEN[1:]), 120))
    result = segment(engine, image, prompts, Clock(22.0, 0.0, lambda: runtime.at))
    assert sum(enlarged) >= 48 and {1, 2} <= set(np.unique(result.labels))
    assert runtime.at <= 22.0


@pytest.mark.parametrize(
    ("seconds", "steps", "windows"),
    [
        (60.0, [], 24),
        (26.0, [], 24),
        (18.0, ["every second slice"], 17),
        (9.0, ["coarser spacing: 1/4"], 24),
        (6.5, ["every second slice", "coarser spacing: 1/4"], 18),
    ],
)
def test_the_ladder_of_slices(seconds: float, steps: list[str], windows: int, made: Path) -> None:
    """First those between two are left out, as many as have to be; then slices are half as large. Where all
    are run in the end, 26 s being less than the forecast's margin, nothing was given up.
    """
    result, took = run_in(seconds, made)
    assert took <= seconds
    assert len(result.ladder) == len(steps)
    assert all(step.step.startswith(start) for step, start in zip(result.ladder, steps, strict=True))
    assert all("s left" in step.why for step in result.ladder)
    (stage,) = result.stages
    assert abs(stage.windows - windows) <= 1, "all that there is time for"
    side = SIDE // 2 if seconds < 10 else SIDE
    assert stage.grid == (24, side, side)
    if stage.windows < 24:
        assert f"{24 - stage.windows} runs of slices between others interpolated" in stage.why
    assert {1, 2} <= set(np.unique(result.labels))
    assert (result.labels[8:14] == 1).any((1, 2)).all(), "a slice that was not run is not empty"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attention": "some"}, r"\$\.attention"),
        ({"order": 0}, r"\$\.order"),
        ({"groups": "pairs"}, r"\$\.groups"),
        ({"unknown": 1}, "unknown"),
        ({"attention": "full", "graphs": {"image": "image.onnx", "text": "text.onnx"}}, "decoder_full"),
        ({"tokenizer": "../tokenizer.json"}, "tokenizer"),
        (
            {"stages": [{"name": "s", "role": "locate", "window_voxels": 4096, "layout": {"kind": "fit"}}]},
            "square-slices only",
        ),
    ],
)
def test_fields_that_do_not_fit_are_refused(changes: dict[str, Any], message: str, write: Write) -> None:
    with pytest.raises(ProfileError, match=message):
        opened(write(**changes))


def test_a_side_that_the_network_cannot_halve_is_refused(made: Path, write: Write) -> None:
    with pytest.raises(ProfileError, match="multiples of 16"):
        opened(write(stages=rules_with({"side": 40}, made)))


def test_a_tokenizer_of_another_model_is_refused(write: Write) -> None:
    folder = write()
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"[UNK]": 0}, "[UNK]")).save(str(folder / "tokenizer.json"))
    fields = manifest_of(folder)
    import hashlib

    fields["files"]["tokenizer.json"]["sha256"] = hashlib.sha256(
        (folder / "tokenizer.json").read_bytes()
    ).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(fields))
    with pytest.raises(ProfileError, match="startoftext"):
        opened(folder).segment(IMAGE, SPACING_MM, SENTENCES)


@pytest.mark.parametrize("instances", [True, False])
def test_edges_are_kept_where_objects_are_wanted_alone(
    instances: bool, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off for semantic cases: neither told to the engine nor packed."""
    given: list[bool] = []
    decode = SliceNetwork.decode

    def watched(*arguments: Any) -> Decoded:
        found = decode(*arguments)
        given.append(found.edges is not None)
        return found

    monkeypatch.setattr(SliceNetwork, "decode", watched)
    profile = read_profile(write(postprocess=[{"rule": "slices"}, {"rule": "edges"}]))
    engine = Engine(profile, FAKE_RUNTIME, open_model(profile, choose_runtime("onnxruntime", 1)))
    twins = made_image((8, 40, 52), ((slice(2, 6), *LIVER[1:]), 200), ((slice(2, 6), *SPLEEN[1:]), 200))
    result = segment(engine, twins, [make_prompt(7, "liver")], instance=instances)
    assert given and set(given) == {instances}
    assert set(np.unique(result.labels)) == ({0, 1, 2} if instances else {0, 7})


@pytest.mark.parametrize(("count", "most"), [(1, 5), (5, 5), (7, 5), (15, 5), (16, 5), (3, 1), (11, 4)])
def test_prompts_are_decoded_in_groups_of_one_size(count: int, most: int) -> None:
    """Each prompt once, in order; no group has another shape than the first."""
    groups = equal_groups(count, most)
    assert [row for rows, known in groups for row in rows[known:]] == list(range(count))
    assert len({len(rows) for rows, _ in groups}) == 1
    assert len(groups[0][0]) <= most
