"""The family ``voxtell`` through the whole engine, with graphs whose answer is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the graphs are written with onnx")
pytest.importorskip("onnxruntime", reason="the graphs are run")

from tests.inference.fake_models import Saved, made_image, make_case, make_prompt  # noqa: E402
from tests.samples.voxtell_weights import WINDOW, write_voxtell_weights  # noqa: E402
from vesal.inference.api import Model  # noqa: E402
from vesal.inference.data.orientation import CANONICAL, Orientation, towards  # noqa: E402
from vesal.inference.engine import Engine  # noqa: E402
from vesal.inference.families.registry import open_model  # noqa: E402
from vesal.inference.families.voxtell.case_plan import RAS  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.runtime.choice import choose_runtime  # noqa: E402
from vesal.inference.stages.logits import to_ordered_probabilities, to_probabilities  # noqa: E402
from vesal.inference.stages.segmentation import Segmentation  # noqa: E402
from vesal.inference.timing.clock import Clock  # noqa: E402

SHAPE = (24, 40, 48)
ONE = (slice(6, 18), slice(8, 30), slice(5, 15))
"""Small columns: the patient's right in a canonical volume."""
OTHER = (slice(6, 18), slice(8, 30), slice(33, 43))
BRIGHTER = (slice(8, 12), slice(12, 20), slice(7, 13))
Opened = Callable[..., Engine]


def image() -> np.ndarray:
    """Two bright blocks, one of them brighter inside, in grey."""
    return made_image(SHAPE, (ONE, 200), (OTHER, 200), (BRIGHTER, 250), background=20)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Opens weights with changed fields."""
    runtime = choose_runtime("onnxruntime", 1)

    def opened(**changes: Any) -> Engine:
        folder = write_voxtell_weights(tmp_path_factory.mktemp("voxtell") / "weights", **changes)
        profile = read_profile(folder)
        return Engine(profile, runtime, open_model(profile, runtime))

    return opened


def run(engine: Engine, names: Sequence[str], volume: np.ndarray | None = None, **more: Any) -> Segmentation:
    """One case; prompts are labels of the bank."""
    prompts = [make_prompt(n, None, text=name) for n, name in enumerate(names, 1)]
    case = make_case(image() if volume is None else volume, prompts)
    fields = {name: more.pop(name) for name in ("axis_codes", "numbers", "spacing_dhw_mm") if name in more}
    clock = more.pop("clock", None) or Clock(600.0, 0.0, lambda: 0.0)
    return engine.segment(replace(case, **fields), prompts, clock, more.pop("save", None) or Saved(), **more)


def share_of(labels: np.ndarray, at: tuple[slice, ...], id_: int = 1) -> float:
    """Share of a part that has an id."""
    return float(np.mean(labels[at] == id_))


def seen_by(engine: Engine) -> list[np.ndarray]:
    """Windows (d, h, w) that the network gets from now on."""
    network, seen = engine.model.stage("whole")._network, []  # type: ignore[attr-defined]
    graph = network._window

    def watched(inputs: dict[str, np.ndarray]) -> Any:
        seen.append(inputs["image"][0, 0].copy())
        return graph(inputs)

    network._window = watched
    return seen


class Slow:
    """A graph whose calls take time on a clock of its own."""

    def __init__(self, graph: Any, seconds: float) -> None:
        self.graph, self.seconds, self.now = graph, seconds, 0.0

    def __call__(self, inputs: Any) -> Any:
        self.now += self.seconds
        return self.graph(inputs)


def test_a_text_finds_what_it_names_and_leaves_the_rest(engine: Opened) -> None:
    found = run(engine(), ["liver"])
    assert share_of(found.labels, ONE) == share_of(found.labels, OTHER) == 1
    assert np.count_nonzero(found.labels) == np.count_nonzero(image() > 100)
    assert found.prompts[1].covered and not found.fallbacks


def test_sides_are_the_patients_where_a_file_says_how_it_lies_and_in_an_npz(engine: Opened) -> None:
    opened = engine()
    for codes in (CANONICAL, None):
        found = run(opened, ["right kidney", "left kidney"], axis_codes=codes)
        assert share_of(found.labels, ONE, 1) == share_of(found.labels, OTHER, 2) == 1
    (note,) = [note for note in found.notes if "right, anterior, superior" in note]
    assert "nothing says" in note


def test_the_network_sees_right_anterior_superior(engine: Opened) -> None:
    opened = engine()
    seen = seen_by(opened)
    volume = np.random.default_rng(0).integers(1, 255, WINDOW).astype(np.uint8)
    run(opened, ["liver"], volume, axis_codes=CANONICAL)
    turned = towards(CANONICAL, RAS)
    assert turned == Orientation((0, 1, 2), (1, 2))
    wanted = turned.turn(volume).astype(np.float64)
    np.testing.assert_allclose(seen[0], (wanted - wanted.mean()) / wanted.std(), atol=1e-5)


def test_the_numbers_of_the_file_reach_the_network(engine: Opened) -> None:
    """Not those that are shown as 0 to 255: a window of Hounsfield units would cut them off."""
    opened = engine()
    seen = seen_by(opened)
    stored = np.random.default_rng(1).normal(0, 400, WINDOW).astype(np.float32)
    stored[0, 0, 0] = np.nan
    found = Model(opened).segment(stored, (1.0, 1.0, 1.0), ["liver"])
    low = float(np.nanmin(stored))
    clean = np.where(np.isnan(stored), low, stored)[:, ::-1, ::-1]
    np.testing.assert_allclose(seen[0], (clean - clean.mean()) / clean.std(), atol=1e-5)
    assert any("numbers as they are stored" in note for note in found.report["notes"])


def test_what_is_0_around_is_cut_off(engine: Opened) -> None:
    opened = engine()
    seen = seen_by(opened)
    inner = np.random.default_rng(2).integers(1, 255, WINDOW).astype(np.uint8)
    volume = np.zeros((40, 50, 60), np.uint8)
    at = tuple(slice(5, 5 + n) for n in WINDOW)
    volume[at] = inner
    found = run(opened, ["liver", "spleen"], volume)
    assert len(seen) == 1
    outside = np.ones(volume.shape, bool)
    outside[at] = False
    assert not found.labels[outside].any() and found.labels.any()


def test_small_volumes_are_filled_up_with_the_mean(engine: Opened) -> None:
    opened = engine()
    seen = seen_by(opened)
    volume = np.random.default_rng(3).integers(1, 255, (5, 31, 40)).astype(np.uint8)
    found = run(opened, ["liver", "spleen"], volume)
    assert found.labels.shape == volume.shape and found.labels.any()
    padding = np.ones(WINDOW, bool)
    padding[5:10, :31] = False
    assert not seen[0][padding].any() and seen[0][5:10, :31].all()


def test_of_two_the_larger_logit_has_the_voxel(engine: Opened) -> None:
    """Also where both are so large that their probabilities are 1 in 32 bits."""
    names = ["liver", "lesion"]
    volume = made_image(SHAPE, (ONE[:1] + BRIGHTER[1:], 250), background=20)
    for order in (names, names[::-1]):
        found = run(engine(), order, volume)
        assert share_of(found.labels, BRIGHTER, 1 + order.index("lesion")) == 1


def test_the_later_one_has_it_where_the_profile_says_so(engine: Opened) -> None:
    opened = engine(overlaps="later")
    for names in (["liver", "lesion"], ["lesion", "liver"]):
        found = run(opened, names, smaller_wins=True, keep_probabilities=True)
        assert share_of(found.labels, BRIGHTER, 2) == 1
        assert any("later" in note for note in found.notes)


def test_what_is_asked_for_again_has_the_voxels_again(engine: Opened) -> None:
    """A prompt that asks for what one before asked for has its own place in the order."""
    found = run(engine(overlaps="later"), ["liver", "lesion", "LIVER"])
    assert share_of(found.labels, BRIGHTER, 3) == 1
    assert any("prompt 3" in note and "the later one" in note for note in found.notes)
    found = run(engine(), ["liver", "lesion", "LIVER"])
    assert share_of(found.labels, BRIGHTER, 2) == 1 and not (found.labels == 3).any()


@pytest.mark.parametrize(("overlaps", "wins"), [("largest", "liver"), ("nested", "left kidney")])
def test_nested_prompts_of_own_scans_go_by_the_profile_too(engine: Opened, overlaps: str, wins: str) -> None:
    """The left kidney is bright on one side, so it lies in what is called liver, with the same logits."""
    names = ["liver", "left kidney"]
    found = run(engine(overlaps=overlaps), names, smaller_wins=True, keep_probabilities=True)
    assert share_of(found.labels, ONE, 1) == 1
    assert share_of(found.labels, OTHER, 1 + names.index(wins)) == 1


def test_larger_logits_are_larger_probabilities() -> None:
    logits = np.arange(-40, 100, 0.01, dtype=np.float32)
    found = to_ordered_probabilities(logits.copy())
    assert np.all(np.diff(found[logits > -10]) > 0) and found.max() <= 1
    np.testing.assert_array_equal(found > 0.5, to_probabilities(logits.copy()) > 0.5)
    assert np.abs(found - to_probabilities(logits.copy())).max() < 0.02


def test_windows_that_show_nothing_are_not_run_and_hold_nothing(engine: Opened) -> None:
    volume = np.full((24, 40, 160), 7, np.uint8)
    volume[OTHER] = 200
    wide = engine()
    seen = seen_by(wide)
    found = run(wide, ["liver", "spleen"], volume, keep_probabilities=True)
    (stage,) = found.stages
    assert stage.skipped and stage.windows == len(seen)
    assert share_of(found.labels, OTHER) == 1
    assert not found.labels[..., 120:].any(), "a window that is not run has no logit above 0"
    ((values, view),) = found.probabilities[2]
    empty = found.orientation.turn(np.arange(volume.size).reshape(volume.shape) % 160 >= 120)
    own = tuple(slice(*side) for side in view.tiling.inside)  # type: ignore[attr-defined]
    assert np.asarray(values)[own][empty].max() < 1e-3, "and none at it"
    stages = [
        {
            "name": "whole",
            "role": "locate",
            "window_voxels": 16 * 32 * 32,
            "max_windows": 4096,
            "skip_empty": False,
            "layout": {"kind": "window", "window_dhw": WINDOW},
        }
    ]
    whole = run(engine(stages=stages), ["liver", "spleen"], volume)
    assert not whole.stages[0].skipped
    assert share_of(whole.labels, OTHER) == 1


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 3), (3, 100, 2), (40, 33, 65), WINDOW])
def test_odd_volumes_get_a_label_map_of_their_shape(engine: Opened, shape: tuple[int, int, int]) -> None:
    volume = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    assert run(engine(), ["liver", "spleen"], volume).labels.shape == shape


@pytest.mark.parametrize("level", [0, 7])
def test_a_volume_of_one_level_gives_nothing(engine: Opened, level: int) -> None:
    found = run(engine(), ["liver"], np.full((9, 40, 40), level, np.uint8))
    assert not found.labels.any() and found.prompts[1].covered


def test_a_sentence_that_nothing_stands_for_is_refused_and_the_others_run(engine: Opened) -> None:
    found = run(engine(), ["liver", "something never heard of"])
    assert share_of(found.labels, OTHER) == 1
    assert not found.prompts[2].covered and "bank" in found.prompts[2].why


@pytest.mark.parametrize("logit", [0.0, 1e4])
def test_presence_is_told_where_the_profile_has_a_threshold(engine: Opened, logit: float) -> None:
    opened = engine(presence_logit=logit, postprocess=[{"rule": "presence"}])
    assert opened.model.capabilities.presence and not engine().model.capabilities.presence
    stage = opened.model.stage("whole")
    told: list[np.ndarray] = []
    decode = stage.decode

    def watched(*given: Any) -> Any:
        found = decode(*given)
        told.append(found.presence)
        return found

    stage.decode = watched
    run(opened, ["liver"], made_image(WINDOW, ((slice(4, 9), slice(8, 20), slice(8, 20)), 200)))
    (presence,) = told
    wanted = [4 <= d < 9 and logit == 0 for d in range(WINDOW[0])]
    np.testing.assert_array_equal(presence[0] > 0.5, wanted)


@pytest.mark.parametrize(
    ("seconds", "steps"),
    [
        (600, []),
        (60, ["overlap 0.25"]),
        (32, ["overlap 0.25", "spacing of 1.5 mm"]),
        (7, ["overlap 0.25", "spacing of 1.5 mm", "overlap 0", "coarser spacing"]),
    ],
)
def test_short_time_widens_the_step_then_goes_to_15_mm_then_coarser(
    engine: Opened, seconds: float, steps: list[str]
) -> None:
    opened = engine()
    network = opened.model.stage("whole")._network  # type: ignore[attr-defined]
    slow = Slow(network._window, 1.0)
    network._window = slow
    volume = np.random.default_rng(0).integers(1, 60, (40, 90, 90)).astype(np.uint8)
    at = (slice(10, 30), slice(20, 60), slice(20, 60))
    volume[at] = 200
    clock = Clock(seconds, 0.0, lambda: slow.now)
    found = run(opened, ["liver"], volume, clock=clock, spacing_dhw_mm=(0.9, 0.8, 0.8))
    assert slow.now <= seconds
    told = [step.step for step in found.ladder]
    assert [step.split(":")[0] for step in told] == steps
    assert share_of(found.labels, at) > 0.9
    assert np.mean((found.labels > 0) == (volume > 100)) > 0.97


def test_a_volume_that_is_coarse_already_has_no_rung_of_15_mm(engine: Opened) -> None:
    opened = engine()
    network = opened.model.stage("whole")._network  # type: ignore[attr-defined]
    slow = Slow(network._window, 1.0)
    network._window = slow
    volume = np.random.default_rng(0).integers(1, 255, (40, 90, 90)).astype(np.uint8)
    found = run(opened, ["liver"], volume, clock=Clock(12, 0.0, lambda: slow.now), spacing_dhw_mm=(2.0,) * 3)
    assert not any("1.5" in step.step for step in found.ladder) and found.ladder


def test_on_a_coarser_grid_nothing_is_lost_at_the_edge_of_the_volume(engine: Opened) -> None:
    """Its windows are filled up there: what fills them up must not cut off half a voxel."""
    stage = {
        "name": "whole",
        "role": "locate",
        "window_voxels": 16 * 32 * 32,
        "max_windows": 4096,
        "min_spacing_mm": 3.0,
        "layout": {"kind": "window", "window_dhw": WINDOW},
    }
    # Just above the level of the liver, so that half a voxel of nothing would make it background.
    at = (slice(0, 30), slice(0, 18), slice(0, 42))
    volume = made_image((30, 40, 42), (at, 200), background=20)
    found = run(engine(stages=[stage]), ["liver"], volume)
    assert share_of(found.labels, (at[0], slice(0, 15), at[2])) == 1


def test_every_window_is_encoded_once_for_all_prompts(engine: Opened) -> None:
    opened = engine()
    seen = seen_by(opened)
    run(opened, ["liver"])
    alone = len(seen)
    run(opened, ["liver", "spleen", "lesion"])
    assert len(seen) == 2 * alone


def test_prompts_are_run_in_passes_where_memory_is_short(
    engine: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["liver", "spleen", "lesion"]
    opened = engine()
    together = run(opened, names)
    monkeypatch.setattr("vesal.inference.families.voxtell.case_plan.SUM_VOXELS", 1)
    seen = seen_by(opened)
    apart = run(opened, names)
    np.testing.assert_array_equal(apart.labels, together.labels)
    assert len(seen) == 3 * together.stages[0].windows


def test_an_orientation_that_nothing_tells_is_looked_for_by_one_coarse_window(engine: Opened) -> None:
    """The case is stored upside down; the prompts of this test know which way is up."""
    rule = {"low_confidence": 0.95, "min_gain": 0.01, "min_confidence": 0.5}
    opened = engine(orientation=rule)
    network = opened.model.stage("whole")._network  # type: ignore[attr-defined]
    inner, windows = network._window, seen_by(opened)
    assert inner is not None
    ramp = np.linspace(60, 1, 48)[:, None, None] * np.ones((48, 96, 96))

    def upright(inputs: dict[str, np.ndarray]) -> Any:
        image = inputs["image"]
        grows = image[0, 0, -1].mean() >= image[0, 0, 0].mean()
        windows.append(image[0, 0])
        return {"coarsest": image if grows else np.full_like(image, -9.0)}

    network._window = upright
    found = run(opened, ["liver", "lesion"], ramp.astype(np.uint8), clock=Clock(1e6, 0.0, lambda: 0.0))
    assert 0 in found.orientation.reversed
    assert [stage.stage for stage in found.stages] == ["orientation", "whole"]
    assert found.stages[0].windows == 8, "one for each way to reverse it"
    assert any("left and right" in note or "as it was found best so" in note for note in found.notes)


def test_same_bytes_each_time(engine: Opened) -> None:
    opened = engine()
    first, again = (run(opened, ["liver", "lesion"]).labels for _ in range(2))
    np.testing.assert_array_equal(first, again)
