"""Sliding windows with predictors whose answer is known for every voxel."""

import math
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.inference.fake_models import BANK, make_profile
from vesal.inference.data.prompt import Query
from vesal.inference.families.nano import NanoModel
from vesal.inference.geometry.views import (
    MIN_WEIGHT,
    SIDE_MULTIPLE,
    EvenTiling,
    View,
    even_corners,
    gaussian_weight,
    whole,
)
from vesal.inference.planning.rules import StageRule
from vesal.inference.stages.label_map import LabelMap
from vesal.inference.stages.packed_probability import PackedProbability, Probabilities
from vesal.inference.stages.sliding_window import Blended, Prediction, Slices, run_windows
from vesal.inference.stages.view_task import ViewTask, Volume, windows_of
from vesal.inference.stages.window_input import spatial_of, window_of

CLASSES = 2
LIVER = Query(1, "liver", "liver", None, "CT", "organ")

Predict = Callable[[np.ndarray, np.ndarray | None, int], tuple[np.ndarray, np.ndarray]]
"""image (C, d, h, w), prompt (N, d, h, w) or None, degree -> probability (N, d, h, w), presence (N, d); the
thick axis comes first in all of them."""


def view_of(shape: tuple[int, int, int], degree: int = 0, thick: int = 0) -> View:
    """A view on the volume's own grid."""
    return View((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), shape, degree, thick)


def image_of(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """(2, D, H, W) float32 in 0..1: nothing is black."""
    return np.random.default_rng(seed).random((2, *shape), np.float32)


def skips(image: np.ndarray, prompt: np.ndarray | None) -> bool:
    """Whether a view pass skips a window (C, d, h, w) with a prompt (N, d, h, w), by the default rules."""
    model, volume = NanoModel({}, BANK, make_profile()), Volume(np.zeros((1, 1, 1), np.uint8), (1.0,) * 3)
    prompts, box = model.encode_prompts([LIVER]), whole((1, 1, 1))
    return ViewTask(volume, model, [LIVER], prompts, box, StageRule(32**3), first=False).skips(image, prompt)


def slide(
    predict: Predict,
    image: np.ndarray,
    prompt: Probabilities | None,
    view: View,
    voxels: int,
    overlap: float,
    classes: int,
    may_continue: Callable[[], bool] = lambda: True,
) -> Blended:
    """Slide windows of at most ``voxels`` voxels over a view, cut out and turned as a view pass does."""
    size, corners = windows_of(view, voxels, overlap)

    def predict_at(at: Slices) -> Prediction:
        window = window_of(image, view, at)
        p, present = predict(window.image, spatial_of(prompt, view, at), window.degree)
        return np.moveaxis(p, 1, 1 + view.thick_axis), present, None

    def skips_at(at: Slices) -> bool:
        return skips(image[at], None if prompt is None else prompt[at])

    return run_windows(predict_at, view, size, corners, classes, may_continue, skips_at)


class Double:
    """Class n has ``2 * image + n``; presence of a slice is its largest voxel of the image."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def __call__(
        self, image: np.ndarray, prompt: np.ndarray | None, degree: int
    ) -> tuple[np.ndarray, np.ndarray]:
        self.shapes.append(image.shape[1:])
        raw = image[0]
        return (
            np.stack([2 * raw + n for n in range(CLASSES)]),
            np.stack([raw.max((1, 2))] * CLASSES),
        )


@given(
    st.tuples(*[st.integers(1, 4)] * 3),
    st.integers(4096, 40_000),
    st.floats(0.0, 0.75),
    st.integers(0, 2),
    st.integers(0, 2),
)
def test_a_predictor_that_doubles_doubles_the_view(
    blocks: tuple[int, int, int], voxels: int, overlap: float, degree: int, thick: int
) -> None:
    """Whatever shape, window, overlap and thick axis: blending equal answers changes nothing."""
    shape = tuple(
        n * (SIDE_MULTIPLE >> degree if a == thick else SIDE_MULTIPLE) for a, n in enumerate(blocks)
    )
    image, double = image_of(shape), Double()
    result = slide(double, image, None, view_of(shape, degree, thick), voxels, overlap, CLASSES)
    np.testing.assert_allclose(result.probability[0], 2 * image[0], atol=1e-4)
    np.testing.assert_allclose(result.probability[1], 2 * image[0] + 1, atol=1e-4)
    others = tuple(a for a in range(3) if a != thick)
    np.testing.assert_array_equal(result.presence, [image[0].max(others)] * CLASSES)
    assert all(math.prod(s) <= voxels for s in double.shapes)
    assert (result.windows, result.skipped) == (len(double.shapes), 0)


@pytest.mark.parametrize("thick", [0, 1, 2])
def test_the_model_sees_the_thick_axis_first(thick: int) -> None:
    """A view of 4 slices on any axis comes as (4, 32, 48), with its prompt turned alike."""
    shape = [32, 48]
    shape.insert(thick, 4)
    seen: dict[str, object] = {}

    def predict(image: np.ndarray, prompt: np.ndarray | None, degree: int) -> tuple[np.ndarray, np.ndarray]:
        assert prompt is not None
        seen.update(image=image.shape, prompt=prompt.shape, degree=degree)
        return prompt, prompt.max((2, 3))

    image = image_of(tuple(shape))
    spatial_prompt = np.random.default_rng(1).random((CLASSES, *shape), np.float32)
    view = view_of(tuple(shape), 2, thick)
    result = slide(predict, image, spatial_prompt, view, 10_000, 0.5, CLASSES)
    assert seen == {"image": (2, 4, 32, 48), "prompt": (CLASSES, 4, 32, 48), "degree": 2}
    np.testing.assert_array_equal(result.probability, spatial_prompt)
    assert result.presence.shape == (CLASSES, 4)


def test_the_middle_of_a_window_counts_more_than_its_border() -> None:
    """Windows that answer their number: voxel 24 is the middle of the second, voxel 0 only the first's."""
    calls = iter(range(10))

    def predict(image: np.ndarray, prompt: np.ndarray | None, degree: int) -> tuple[np.ndarray, np.ndarray]:
        return np.full((1, *image.shape[1:]), float(next(calls)), np.float32), np.ones((1, image.shape[1]))

    shape = (64, 16, 16)
    result = slide(predict, image_of(shape), None, view_of(shape), 32 * 16 * 16, 0.5, 1)
    line = result.probability[0, :, 8, 8]
    assert result.windows == 3
    assert line[0] == 0
    assert line[32] == pytest.approx(1, abs=0.01)
    assert line[63] == 2
    assert (np.diff(line) >= 0).all()


def test_black_windows_are_not_asked() -> None:
    """Only the last third of the view holds something: of windows at 0, 32, 64 the first is spared."""
    shape = (96, 16, 16)
    image = np.full((2, *shape), -1.0, np.float32)
    image[:, 70:] = 0.5
    double = Double()
    result = slide(double, image, None, view_of(shape), 32 * 16 * 16, 0.0, CLASSES)
    assert (result.windows, result.skipped) == (1, 2)
    assert not result.probability[:, :64].any()
    np.testing.assert_allclose(result.probability[0, 70:], 1.0, atol=1e-6)
    assert (result.presence[:, :64] == 1).all(), "nothing measured these slices"
    np.testing.assert_array_equal(result.presence[:, 70:], 0.5)


def test_windows_away_from_the_coarse_result_are_not_asked() -> None:
    shape = (96, 16, 16)
    spatial_prompt = np.zeros((CLASSES, *shape), np.float32)
    spatial_prompt[1, 40:50] = 0.9
    result = slide(Double(), image_of(shape), spatial_prompt, view_of(shape), 32 * 16 * 16, 0.0, CLASSES)
    assert (result.windows, result.skipped) == (1, 2)
    assert result.probability[:, 32:64].any() and not result.probability[:, :32].any()


def test_windows_left_out_are_counted_and_stay_empty() -> None:
    """May go on twice of three times."""
    shape = (96, 16, 16)
    answers = iter([True, True, False])
    result = slide(
        Double(), image_of(shape), None, view_of(shape), 32 * 16 * 16, 0.0, CLASSES, lambda: next(answers)
    )
    assert (result.windows, result.skipped, result.dropped) == (2, 0, 1)
    assert (result.probability[1, :64] >= 1).all() and not result.probability[:, 64:].any()
    assert np.isfinite(result.probability).all()


def test_a_skipped_window_counts_as_a_no_where_others_overlap_it() -> None:
    """Windows at 0 and 16 of 32 voxels; the second sees no prompt. Voxels 23 and 24 mirror each other about
    the middle of what both share, so a 1 from the first alone adds up to 1 over the two.
    """
    shape = (48, 16, 16)
    spatial_prompt = np.zeros((1, *shape), np.float32)
    spatial_prompt[:, :10] = 1

    def predict(image: np.ndarray, prompt: np.ndarray | None, degree: int) -> tuple[np.ndarray, np.ndarray]:
        return np.ones((1, *image.shape[1:]), np.float32), np.ones((1, image.shape[1]), np.float32)

    result = slide(predict, image_of(shape), spatial_prompt, view_of(shape), 32 * 16 * 16, 0.5, 1)
    line = result.probability[0, :, 8, 8]
    assert (result.windows, result.skipped) == (1, 1)
    assert (line[:16] == 1).all() and not line[32:].any()
    assert line[23] + line[24] == pytest.approx(1, abs=1e-5)


def plain(
    predict: Predict, image: np.ndarray, prompt: np.ndarray | None, view: View, voxels: int, overlap: float
) -> tuple[np.ndarray, np.ndarray]:
    """The plain implementation: sums of all classes over the whole view, divided once."""
    size, thick = EvenTiling().size(view, voxels), view.thick_axis
    total = np.zeros((CLASSES, *view.shape), np.float32)
    weights = np.zeros(view.shape, np.float32)
    presence = np.full((CLASSES, view.shape[thick]), -1.0, np.float32)
    weight = gaussian_weight(size)
    for corner in even_corners(view.shape, size, overlap):
        at = tuple(slice(c, c + n) for c, n in zip(corner, size, strict=True))
        part, spatial_prompt = (
            image[(slice(None), *at)],
            None if prompt is None else prompt[(slice(None), *at)],
        )
        weights[at] += weight
        if skips(part, spatial_prompt):
            continue
        # In one piece, as a view pass hands them over: numpy's sums hang on the order in memory.
        turned = (
            None
            if spatial_prompt is None
            else np.ascontiguousarray(np.moveaxis(spatial_prompt, 1 + thick, 1))
        )
        p, present = predict(np.ascontiguousarray(np.moveaxis(part, 1 + thick, 1)), turned, view.degree)
        total[(slice(None), *at)] += np.moveaxis(p, 1, 1 + thick) * weight
        presence[:, at[thick]] = np.maximum(presence[:, at[thick]], present)
    presence[presence < 0] = 1.0
    return total / np.maximum(weights, MIN_WEIGHT), presence


def wavy(image: np.ndarray, prompt: np.ndarray | None, degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Answers that differ from voxel to voxel and window to window."""
    spatial_prompt = 0.0 if prompt is None else prompt.mean(0)
    first = np.abs(np.sin(7 * image[0] + spatial_prompt + image.mean())).astype(np.float32)
    p = np.stack([first / (n + 1) for n in range(CLASSES)])
    return p, p.max((2, 3))


@given(
    st.tuples(*[st.integers(1, 4)] * 3),
    st.integers(4096, 30_000),
    st.sampled_from([0.0, 0.25, 0.5, 0.7]),
    st.integers(0, 2),
    st.integers(0, 2),
    st.integers(0, 1000),
)
def test_slabs_give_what_the_plain_implementation_gives(
    blocks: tuple[int, int, int], voxels: int, overlap: float, degree: int, thick: int, seed: int
) -> None:
    """Random grids with air and with prompts, packed or not: probability, presence and labels, to the bit."""
    shape = tuple(
        n * (SIDE_MULTIPLE >> degree if a == thick else SIDE_MULTIPLE) for a, n in enumerate(blocks)
    )
    rng = np.random.default_rng(seed)
    image = image_of(shape, seed)
    image[:, : int(rng.integers(0, shape[0]))] = -1
    prompt = np.zeros((CLASSES, *shape), np.float32)
    prompt[..., int(rng.integers(0, shape[2])) :] = rng.random()
    view = View((0.5, -1.0, 2.0), (1.5, 1.0, 2.5), shape, degree, thick)
    for spatial_prompt in (None, prompt, PackedProbability.of(prompt)):
        result = slide(wavy, image, spatial_prompt, view, voxels, overlap, CLASSES)
        dense, presence = plain(
            wavy, image, None if spatial_prompt is None else prompt, view, voxels, overlap
        )
        if result.windows + result.skipped > 1:
            np.testing.assert_array_equal(np.asarray(result.probability), dense)
            np.testing.assert_array_equal(result.presence, presence)
    volume = (40, 50, 60)
    slabbed, whole = LabelMap(volume, CLASSES), LabelMap(volume, CLASSES)
    for n in range(CLASSES):
        slabbed.add(result.probability[n], view, n + 1, 0.4)
        whole.add(np.asarray(result.probability)[n], view, n + 1, 0.4)
    np.testing.assert_array_equal(slabbed.labels, whole.labels)


def test_floats_of_finished_planes_are_let_go() -> None:
    """A view of 40 windows' depths: the peak stays below a third of what all its floats would take."""
    shape = (640, 32, 32)
    image = image_of(shape)
    view = view_of(shape)

    def sure(image: np.ndarray, prompt: np.ndarray | None, degree: int) -> tuple[np.ndarray, np.ndarray]:
        return np.ones((30, *image.shape[1:]), np.float32), np.ones((30, image.shape[1]), np.float32)

    tracemalloc.start()
    result = slide(sure, image, None, view, 16 * 32 * 32, 0.5, 30)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.windows == 79
    assert peak < 30 * math.prod(shape) * 4 / 3


@pytest.mark.parametrize("windows", [1, 2])
def test_presence_that_a_network_does_not_tell_is_one(windows: int) -> None:
    view = view_of((16 * windows, 16, 16))

    def predict(at: Slices) -> Prediction:
        return np.ones((CLASSES, 16, 16, 16), np.float32), None, None

    corners = [(16 * n, 0, 0) for n in range(windows)]
    result = run_windows(predict, view, (16, 16, 16), corners, CLASSES)
    np.testing.assert_array_equal(result.presence, np.ones((CLASSES, 16 * windows)))
    assert result.presence.dtype == np.float32 and result.windows == windows


@pytest.mark.parametrize("windows", [1, 3])
def test_edges_are_blended_as_probabilities_are(windows: int) -> None:
    view = view_of((16 * windows, 16, 16))
    values = np.random.default_rng(1).random((CLASSES, *view.shape), np.float32)
    corners = view.tiling.corners(view, (16, 16, 16), 0.5)
    result = run_windows(lambda at: (values[at], None, 1 - values[at]), view, (16, 16, 16), corners, CLASSES)
    assert result.edges is not None
    np.testing.assert_allclose(np.asarray(result.edges), 1 - np.asarray(result.probability), atol=1e-6)


def test_logits_of_a_window_that_is_skipped_or_left_out_say_no() -> None:
    """Zero would be the threshold."""
    view = view_of((32, 32, 64))
    corners = [(0, 0, 0), (0, 0, 16), (0, 0, 32)]

    def predict(at: Slices) -> Prediction:
        return np.full((1, 32, 32, 32), 2.0, np.float32), None, None

    calls = iter((True, True, False))
    found = run_windows(
        predict,
        view,
        (32, 32, 32),
        corners,
        1,
        lambda: next(calls),
        lambda at: at[3].start == 16,
        empty=-16.0,
    ).probability[0]
    assert np.all(found[..., :8] == 2.0), "where one window alone was run"
    assert np.all(found[..., 34:48] == -16.0) and np.all(found[..., 48:] == -16.0)
    assert np.all((found[..., 17:31] > -16.0) & (found[..., 17:31] < 2.0))
