"""The family ``segvol`` through the whole engine, with graphs whose answer is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the graphs are written with onnx")
pytest.importorskip("onnxruntime", reason="the graphs are run")

from tests.inference.fake_models import Saved, dice, made_image, make_case, make_prompt  # noqa: E402
from tests.samples.segvol_weights import WINDOW, write_segvol_weights  # noqa: E402
from vesal.inference.api import Model  # noqa: E402
from vesal.inference.data.case import Case  # noqa: E402
from vesal.inference.data.prompt import Prompt  # noqa: E402
from vesal.inference.data.user_prompts import Point, UserPrompts, VoxelBox  # noqa: E402
from vesal.inference.engine import Engine  # noqa: E402
from vesal.inference.families.registry import open_model  # noqa: E402
from vesal.inference.families.segvol.candidates import named_targets
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.inference.runtime.choice import choose_runtime  # noqa: E402
from vesal.inference.stages.segmentation import Segmentation  # noqa: E402
from vesal.inference.timing.clock import Clock  # noqa: E402

SHAPE = (20, 80, 96)
LIVER = (slice(4, 14), slice(10, 40), slice(12, 44))
OTHER = (slice(5, 12), slice(50, 70), slice(60, 88))
MIDDLE = (slice(6, 13), slice(50, 74), slice(10, 40))
"""Of grey level 0.5: no word and no default stands for it, only a point."""
UNNAMED = make_prompt(2, None, text="")
Opened = Callable[..., Engine]


def grey_of(share: float) -> int:
    """The stored number that becomes a grey level, in ``image``: its foreground has 180 and 240."""
    return round(100 + 140 * share)


def image() -> np.ndarray:
    """Noise-free: what is above the mean has levels 100 to 240, and little of both ends."""
    levels = ((LIVER, grey_of(0.75)), (OTHER, grey_of(0.75)), (MIDDLE, grey_of(0.5)))
    volume = made_image(SHAPE, *levels, background=10)
    volume[0, :4, :40], volume[0, 4:8, :40] = 100, 240
    return volume


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Opens weights with changed fields."""
    runtime = choose_runtime("onnxruntime", 1)

    def opened(**changes: Any) -> Engine:
        folder = write_segvol_weights(tmp_path_factory.mktemp("segvol") / "weights", **changes)
        profile = read_profile(folder)
        return Engine(profile, runtime, open_model(profile, runtime))

    return opened


def run(
    engine: Engine,
    prompts: Sequence[Prompt],
    user: UserPrompts | None = None,
    clock: Clock | None = None,
    save: Saved | None = None,
    **changes: Any,
) -> Segmentation:
    """One case."""
    case: Case = replace(make_case(image(), prompts), user=user or UserPrompts(), **changes)
    still = clock or Clock(600.0, 0.0, lambda: 0.0)
    return engine.segment(case, prompts, still, save or Saved())


def box(at: tuple[slice, ...], id_: int = 1) -> UserPrompts:
    """A box of whole voxels."""
    start, stop = tuple(s.start for s in at), tuple(s.stop for s in at)
    return UserPrompts(boxes={id_: (VoxelBox(start, stop),)})


def point(at: tuple[slice, ...], id_: int = 1, foreground: bool = True) -> UserPrompts:
    """A point in the middle of a part."""
    d, h, w = ((s.start + s.stop) // 2 for s in at)
    return UserPrompts(points={id_: (Point((d, h, w), foreground),)})


def share_of(labels: np.ndarray, at: tuple[slice, ...], id_: int = 1) -> float:
    """Share of a part that has an id, without what the network's coarse grid leaves out at its border."""
    core = tuple(slice(s.start + n, s.stop - n) for s, n in zip(at, (0, 7, 7), strict=True))
    return float(np.mean(labels[core] == id_))


def test_a_text_finds_everything_of_its_kind(engine: Opened) -> None:
    found = run(engine(), [make_prompt(1, "liver")])
    assert found.labels.shape == SHAPE
    assert share_of(found.labels, LIVER) > 0.9 and share_of(found.labels, OTHER) > 0.8
    assert share_of(found.labels, MIDDLE) < 0.05
    assert [stage.stage for stage in found.stages] == ["zoom-out", "zoom-in"]
    assert found.prompts[1].asked_as == "target" and not found.fallbacks


@pytest.mark.parametrize("text", ["liver", None])
def test_a_box_cuts_off_what_lies_outside(engine: Opened, text: str | None) -> None:
    prompt = make_prompt(1, text) if text else replace(UNNAMED, id=1)
    found = run(engine(), [prompt], box(LIVER))
    assert share_of(found.labels, LIVER) > 0.85
    assert share_of(found.labels, OTHER) == 0
    assert found.prompts[1].asked_as == ("target" if text else "user prompts")


def test_what_a_box_without_a_sentence_marks_is_told(engine: Opened) -> None:
    """Its name is the bank's one, held against the box's own result; the labels are those of the box."""
    found = run(engine(), [replace(UNNAMED, id=1)], box(LIVER))
    (candidate,) = found.prompts[1].candidates
    assert candidate.target == "liver" and 0.3 < candidate.score < 1
    assert share_of(found.labels, OTHER) == 0


def test_names_for_marks_are_those_that_bank_and_vocabulary_have() -> None:
    names = ["liver", "kidney", "left kidney", "right kidney", "left liver", "hepar", "no such thing"]
    found = named_targets(names, load_vocabulary().concepts)
    assert [target.name for target in found] == ["liver", "left kidney", "right kidney"]


@pytest.mark.parametrize("text", ["liver", None])
def test_a_point_says_what_is_looked_for(engine: Opened, text: str | None) -> None:
    prompt = make_prompt(1, text) if text else replace(UNNAMED, id=1)
    found = run(engine(), [prompt], point(MIDDLE))
    assert share_of(found.labels, MIDDLE) > 0.8
    assert share_of(found.labels, LIVER) < 0.1


def test_box_and_point_and_all_three_are_taken(engine: Opened) -> None:
    both = UserPrompts(box(MIDDLE).mask, box(MIDDLE).boxes, point(MIDDLE).points)
    for prompt in (make_prompt(1, "liver"), replace(UNNAMED, id=1)):
        found = run(engine(), [prompt], both)
        assert share_of(found.labels, MIDDLE) > 0.8
        assert share_of(found.labels, OTHER) == 0


def test_a_prompt_with_nothing_is_refused_and_the_others_run(engine: Opened) -> None:
    found = run(engine(), [make_prompt(1, "liver"), UNNAMED])
    assert share_of(found.labels, LIVER) > 0.9
    assert not found.prompts[2].covered
    assert "nothing that the weights" in found.prompts[2].why


@pytest.mark.parametrize(
    "user",
    [
        box((slice(0, 1), slice(0, 1), slice(0, 1))),
        box((slice(0, 20), slice(0, 80), slice(0, 96))),
        box((slice(19, 20), slice(79, 80), slice(95, 96))),
        point((slice(0, 1), slice(0, 1), slice(0, 1)), foreground=False),
        point((slice(19, 20), slice(79, 80), slice(95, 96))),
        UserPrompts(boxes={9: (VoxelBox((0, 0, 0), (1, 1, 1)),)}),
    ],
)
def test_odd_marks_do_no_harm(engine: Opened, user: UserPrompts) -> None:
    found = run(engine(), [make_prompt(1, "liver"), make_prompt(3, "spleen")], user)
    assert found.labels.shape == SHAPE
    assert found.prompts[1].covered and found.prompts[3].covered
    assert not found.fallbacks


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 3), (3, 500, 2), (40, 33, 65), (8, 32, 32)])
def test_odd_volumes_get_a_label_map_of_their_shape(engine: Opened, shape: tuple[int, int, int]) -> None:
    volume = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    prompts = [make_prompt(1, "liver"), UNNAMED]
    user = box(tuple(slice(0, n) for n in shape), 2)
    case = replace(make_case(volume, prompts), user=user)
    found = engine().segment(case, prompts, Clock(600.0, 0.0, lambda: 0.0), Saved())
    assert found.labels.shape == shape


def test_a_volume_of_one_level_gives_nothing(engine: Opened) -> None:
    case = make_case(np.full((9, 40, 40), 7, np.uint8), [make_prompt(1, "liver")])
    found = engine().segment(case, [make_prompt(1, "liver")], Clock(600.0, 0.0, lambda: 0.0), Saved())
    assert not found.labels.any() and found.prompts[1].covered


def counted(engine: Engine) -> list[tuple[int, ...]]:
    """Shapes that the image graph is run on from now on."""
    network = engine.model.stage("zoom-in")._network  # type: ignore[attr-defined]
    graph, calls = network._image, []

    def watched(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        calls.append(inputs["image"].shape)
        found: dict[str, np.ndarray] = graph(inputs)
        return found

    network._image = watched
    return calls


def test_every_window_is_encoded_once_for_all_prompts(engine: Opened) -> None:
    alone, together = engine(), engine()
    first, calls = counted(alone), counted(together)
    run(alone, [make_prompt(1, "liver")])
    prompts = [make_prompt(n, "liver") for n in range(1, 4)]
    marks = UserPrompts(points={n: point(LIVER, n).points[n] for n in (2, 3)})
    run(together, prompts, replace(marks, points={}))
    assert len(calls) == len(first), "the same region: the same windows"
    assert set(calls) == {(1, 1, *WINDOW)}
    text = [make_prompt(1, "liver"), make_prompt(2, None, text="Thing of the liver.")]
    other = engine()
    again = counted(other)
    run(other, text)
    assert len(again) == len(first), "another prompt with the same result has the same windows"


def test_shared_windows_are_fewer_encodings(engine: Opened) -> None:
    d, h, w = LIVER
    corners = [(a, b, c) for a in (0, 2, 4) for b in (0, 4, 8) for c in (0, 6, 12)]
    shifted = {
        n: (slice(d.start + a, d.stop), slice(h.start + b, h.stop), slice(w.start, w.stop - c))
        for n, (a, b, c) in enumerate(corners)
    }
    marks = UserPrompts(boxes={n + 1: box(at).boxes[1] for n, at in shifted.items()})
    prompts = [make_prompt(n + 1, "liver") for n in shifted]
    encodings = {}
    for setting in ("own", "shared"):
        opened = engine(windows=setting, kept_windows=200)
        calls = counted(opened)
        run(opened, prompts, marks)
        encodings[setting] = len(calls)
    assert encodings["shared"] < encodings["own"], encodings


def test_shared_windows_find_the_same(engine: Opened) -> None:
    own, shared = (
        run(engine(windows=setting), [make_prompt(1, "liver")]).labels > 0 for setting in ("own", "shared")
    )
    assert dice(own, shared) > 0.85


def test_the_paper_turns_to_right_anterior_superior(engine: Opened) -> None:
    prompts = [make_prompt(1, "liver")]
    stored = run(engine(paper=True), prompts)
    assert any("does not say" in note for note in stored.notes)
    turned = run(engine(paper=True), prompts, box(LIVER), axis_codes=("S", "P", "L"))
    assert any("right, anterior, superior" in note for note in turned.notes)
    assert turned.labels.shape == SHAPE
    assert share_of(turned.labels, LIVER) > 0.85 and share_of(turned.labels, OTHER) == 0


def test_the_turned_image_reaches_the_network(engine: Opened) -> None:
    opened = engine(paper=True)
    seen: list[np.ndarray] = []
    network = opened.model.stage("zoom-in")._network  # type: ignore[attr-defined]
    graph = network._image

    def watched(inputs: dict[str, np.ndarray]) -> Any:
        seen.append(inputs["image"].copy())
        return graph(inputs)

    network._image = watched
    run(opened, [make_prompt(1, "liver")], axis_codes=("S", "P", "L"))
    run(opened, [make_prompt(1, "liver")])
    windows = len(seen) // 2
    np.testing.assert_array_equal(seen[0], np.flip(seen[windows], (3, 4)))


def test_another_modality_is_asked_and_told(engine: Opened) -> None:
    found = run(engine(), [make_prompt(1, "liver", modality="MR")])
    assert found.prompts[1].covered
    assert any("MR is asked as computed tomography" in note for note in found.notes)


def test_same_points_each_time(engine: Opened) -> None:
    opened = engine()
    first, again = (run(opened, [UNNAMED], point(MIDDLE, 2)).labels for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_a_known_name_is_asked_whatever_the_sentence(engine: Opened) -> None:
    opened = engine()
    texts: list[np.ndarray] = []
    model = opened.model
    inner = model._text  # type: ignore[attr-defined]

    def watched(inputs: dict[str, np.ndarray]) -> Any:
        texts.append(inputs["input_ids"])
        return inner(inputs)

    model._text = watched  # type: ignore[attr-defined]
    run(opened, [make_prompt(1, "liver", text="Liver in abdominal CT")])
    assert not texts, "the bank has it"
    run(opened, [make_prompt(1, "kidney", "left", text="Left kidney in abdominal CT")])
    [ids] = texts
    words = model._sentences.pieces("A computerized tomography of a left kidney.")  # type: ignore[attr-defined]
    assert ids[0, 1:-1].tolist() == words


@pytest.mark.parametrize("seconds", [600, 60, 25, 10, 4])
def test_the_ladder_ends_at_zoom_out_alone(engine: Opened, seconds: float) -> None:
    opened, now = engine(), 0.0

    class Slow:
        def __init__(self, graph: Any) -> None:
            self.graph = graph

        def __call__(self, inputs: Any) -> Any:
            nonlocal now
            now += 2.0
            return self.graph(inputs)

    network = opened.model.stage("zoom-in")._network  # type: ignore[attr-defined]
    network._image = Slow(network._image)
    found = run(opened, [make_prompt(1, "liver")], clock=Clock(seconds, 0.0, lambda: now))
    assert now <= seconds
    assert share_of(found.labels, LIVER) > 0.5
    steps = [step.step for step in found.ladder]
    if seconds == 600:
        assert not steps
    if seconds == 4:
        assert "overlap 0" in steps and [stage.stage for stage in found.stages] == ["zoom-out"]


def test_python_call_takes_every_kind(engine: Opened) -> None:
    model = Model(engine())
    found = model.segment(image(), (1.0, 1.0, 1.0), ["liver"])
    assert share_of(found.labels, LIVER) > 0.9


def test_many_prompts_are_run_in_passes_on_one_encoded_volume(engine: Opened) -> None:
    opened = engine()
    calls = counted(opened)
    run(opened, [make_prompt(1, "thing")])
    alone = len(calls)
    run(opened, [make_prompt(n, f"thing {n}") for n in range(1, 21)])
    assert len(calls) == 2 * alone, "20 prompts take two passes, and no window more"


def test_prompts_of_one_region_are_split_where_memory_is_short(
    engine: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [make_prompt(1, "liver"), make_prompt(2, None, text="liver")]
    opened = engine()
    calls = counted(opened)
    whole = run(opened, prompts)
    encoded = len(calls)
    monkeypatch.setattr("vesal.inference.families.segvol.case_plan.SLAB_VOXELS", 1)
    parted = run(opened, prompts)
    assert len(parted.stages) == len(whole.stages) + 1
    np.testing.assert_array_equal(parted.labels, whole.labels)
    assert len(calls) == 2 * encoded, "windows are not encoded again for the second part"
