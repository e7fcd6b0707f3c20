"""Vesal from Python: what may be given, what comes back, and that calls do not mix."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vesal
from tests.inference.fake_models import Bright, dice, made_image, make_model
from vesal.inference.api import Model
from vesal.inference.data.errors import (
    BoxError,
    CancelledError,
    EmptyVolumeError,
    InstanceLabelError,
    IntensityError,
    MaskIdError,
    MaskShapeError,
    MaskTypeError,
    ModalityError,
    NoPromptsError,
    PointError,
    ProfileError,
    PromptError,
    PromptIdError,
    PromptTextError,
    SpacingError,
    UsageError,
    VolumeShapeError,
)
from vesal.inference.planning.rules import StageRule
from vesal.inference.timing.progress import WindowProgress

SPACING = (2.0, 1.0, 1.0)
LIVER = (slice(4, 14), slice(4, 14), slice(4, 14))
SPLEEN = (slice(18, 26), slice(18, 28), slice(6, 16))


@pytest.fixture
def image() -> np.ndarray:
    """(32, 32, 32) uint8 with a liver and a spleen."""
    return made_image((32,) * 3, (LIVER, 200), (SPLEEN, 120))


@pytest.fixture
def model() -> Model:
    return make_model(Bright())


def test_the_i_th_prompt_of_a_list_has_the_value_i_plus_1(model: Model, image: np.ndarray) -> None:
    result = model.segment(image, SPACING, ["spleen", "liver"], modality="CT")
    assert result.labels.shape == image.shape and result.labels.dtype == np.uint8
    assert dice(result.labels == 1, image == 120) > 0.9
    assert dice(result.labels == 2, image == 200) > 0.9
    assert [p.target for p in result.prompts] == ["spleen", "liver"]
    assert [p.id for p in result.prompts] == [1, 2] and len(result.prompts) == 2
    liver = result.prompts[1]
    assert liver.covered and liver.voxels == np.count_nonzero(result.labels == 2)
    assert liver.volume_ml == pytest.approx(liver.voxels * 2.0 / 1000)
    assert 0.5 < liver.mean_probability <= 1 and result.prompts[-1] is liver


def test_a_dict_keeps_its_ids(model: Model, image: np.ndarray) -> None:
    result = model.segment(image, SPACING, {7: "liver", "300": "spleen"}, modality="CT")
    assert set(np.unique(result.labels)) == {0, 7, 300} and result.labels.dtype == np.uint16
    assert result.prompts[300].target == "spleen" and [p.id for p in result.prompts] == [7, 300]
    assert result.probability(300)[SPLEEN].mean() > 0.9
    assert [p.id for p in reversed(result.prompts)] == [300, 7] and result.prompts.index(
        result.prompts[7]
    ) == 0
    for i in (0, 1, -1, None, "x", [7]):
        with pytest.raises(IndexError, match=r"no prompt .*; there are \[7, 300\]"):
            result.probability(i)


def test_ids_may_be_of_numpy(model: Model, image: np.ndarray) -> None:
    """As `np.unique` of a label map gives them."""
    prompts = dict(zip(np.array([3, 9]), ["liver", "spleen"], strict=True))
    result = model.segment(image, SPACING, prompts, modality="CT")
    assert result.prompts[np.int64(9)].target == "spleen" and set(np.unique(result.labels)) == {0, 3, 9}


def test_one_sentence_alone_will_do(model: Model, image: np.ndarray) -> None:
    np.testing.assert_array_equal(
        model.segment(image, SPACING, "liver", modality="CT").labels,
        model.segment(image, SPACING, ["liver"], modality="CT").labels,
    )


def test_a_target_that_is_not_covered_is_empty_and_told(model: Model, image: np.ndarray) -> None:
    result = model.segment(image, SPACING, ["aorta", "liver"], modality="CT")
    aorta = result.prompts[0]
    assert not aorta.covered and aorta.voxels == 0 and "not covered" in aorta.why
    assert not result.probability(0).any() and result.probability(1).any()


@pytest.mark.parametrize(
    "stored",
    [
        lambda image: np.asfortranarray(image),
        lambda image: image[::-1][::-1],
        lambda image: image.astype(">i2"),
        lambda image: image.astype(np.float64),
        lambda image: image.tolist(),
        lambda image: np.broadcast_to(image[None], (1, *image.shape))[0],
    ],
    ids=["Fortran order", "negative strides", "big-endian", "float64", "lists", "read only"],
)
def test_any_real_type_and_memory_order(
    model: Model, image: np.ndarray, stored: Callable[[np.ndarray], Any]
) -> None:
    """Whole numbers from 0 to 255 are taken as they are, whatever their type."""
    image[0, 0, 0], image[0, 0, 1] = 0, 255
    plain = model.segment(image, SPACING, ["liver"], modality="CT")
    other = model.segment(stored(image), SPACING, ["liver"], modality="CT")
    np.testing.assert_array_equal(plain.labels, other.labels)


def test_intensities_of_another_range_are_rescaled_and_told(model: Model, image: np.ndarray) -> None:
    result = model.segment(image.astype(np.int16) * 4 + 100, SPACING, ["liver"], modality="CT")
    assert any("rescaled to 0..255" in note for note in result.report["notes"])


def test_instances_have_a_value_each(model: Model) -> None:
    image = made_image((32,) * 3, (LIVER, 200), (SPLEEN, 200))
    labels = model.segment(image, SPACING, ["cell"], modality="CT", instances=True).labels
    assert set(np.unique(labels)) == {0, 1, 2}
    by_key = model.segment(image, SPACING, {"1": "cell", "instance_label": 1}, modality="CT").labels
    np.testing.assert_array_equal(labels, by_key)


@pytest.mark.parametrize(("said", "taken"), [("CT", "CT"), ("ct", "CT"), ("MRI", "MR"), ("Ultrasound", "US")])
def test_the_callers_modality_counts(model: Model, image: np.ndarray, said: str, taken: str) -> None:
    result = model.segment(image, SPACING, ["liver in PET", "spleen"], modality=said)
    assert {p.modality for p in result.prompts} == {taken} == {result.report["modality"]}
    assert result.report["modality_source"] == "caller"


def test_without_a_modality_the_sentences_say(model: Model, image: np.ndarray) -> None:
    result = model.segment(image, SPACING, ["liver on a CT scan", "spleen"])
    assert {p.modality for p in result.prompts} == {"CT"}


def test_probability_is_that_of_the_last_stage(model: Model, image: np.ndarray) -> None:
    """A ramp beside the exact level: 0.5 at 20 off, so the label map is where the probability is above."""
    result = model.segment(image, SPACING, ["liver"], modality="CT")
    probability = result.probability(0)
    assert probability.shape == image.shape and probability.dtype == np.float32
    assert probability.min() >= 0 and probability.max() <= 1
    agree = (probability > 0.5) == (result.labels == 1)
    assert agree.mean() > 0.999


def test_probability_of_a_case_that_lies_the_other_way(shared: Path) -> None:
    """What was found on the case reversed comes back as the case is stored."""
    from tests.inference.stages.test_orientation import IMAGE, RULE, Upright, truth

    model = make_model(Upright(), any_orientation=False, orientation=RULE)
    stored = np.ascontiguousarray(IMAGE[::-1])
    result = model.segment(stored, (1.0, 1.0, 1.0), ["liver", "spleen"], modality="CT")
    assert dice(result.labels == 1, truth()[::-1] == 1) > 0.9
    assert dice(result.probability(0) > 0.5, truth()[::-1] == 1) > 0.9


def test_progress_is_called_per_window_and_ends_at_what_was_planned(image: np.ndarray) -> None:
    network = Bright()
    rule = StageRule(window_voxels=16**3, max_windows=8, overlap=0.0)
    told: list[WindowProgress] = []
    make_model(network, coarse=rule).segment(
        image, SPACING, ["liver"], modality="CT", progress=lambda p: told.append(p)
    )
    assert len(told) == len(network.calls)
    coarse = [p for p in told if p.stage == "coarse"]
    assert [p.windows for p in coarse] == list(range(1, len(coarse) + 1)) and len(coarse) > 1
    assert coarse[-1].windows == coarse[-1].planned and told[-1].stage == "fine"
    assert all(a.seconds <= b.seconds for a, b in zip(told, told[1:], strict=False))


@pytest.mark.parametrize("false", [False, np.False_])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_returning_false_cancels(image: np.ndarray, after: int, false: Any) -> None:
    network = Bright()
    model = make_model(network, coarse=StageRule(window_voxels=16**3, max_windows=8, overlap=0.0))
    with pytest.raises(CancelledError, match=f"cancelled after window {after} of the coarse stage"):
        model.segment(
            image, SPACING, ["liver"], modality="CT", progress=lambda p: false if p.windows >= after else None
        )
    assert len(network.calls) == after
    assert model.segment(image, SPACING, ["liver"], modality="CT").labels.any(), "the model goes on"


def test_too_little_time_gives_a_label_map_all_the_same(model: Model, image: np.ndarray) -> None:
    result = model.segment(image, SPACING, ["liver"], modality="CT", seconds=1e-6)
    assert not result.labels.any() and result.report["ladder"] and result.report["fallbacks"]


def test_the_report_is_plain_values(model: Model, image: np.ndarray) -> None:
    import json

    result = model.segment(image, SPACING, ["liver"], modality="CT")
    told = json.loads(json.dumps(result.report))
    assert told["weights"] == "fakes" and told["version"] == vesal.__version__
    assert told["provenance"]["files"] == {}
    assert told["spacing_dhw_mm"] == list(SPACING) and told["shape"] == list(image.shape)
    assert [stage["stage"] for stage in told["stages"]] == ["coarse", "fine"]
    assert told["prompts"][0]["target"] == "liver"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"image": np.zeros((4, 4), np.uint8)}, VolumeShapeError, r"2 axes, shape \(4, 4\)"),
        ({"image": np.zeros((0, 4, 4))}, EmptyVolumeError, r"\(0, 4, 4\)"),
        ({"image": np.zeros((4, 4, 4), complex)}, IntensityError, "complex128"),
        ({"image": np.array([[["a"]]])}, IntensityError, "real numbers are wanted"),
        ({"image": np.full((4, 4, 4), np.nan)}, IntensityError, "64 NaN"),
        ({"spacing_mm": (1.0, 1.0)}, SpacingError, "three positive lengths"),
        ({"spacing_mm": (1.0, 0.0, 1.0)}, SpacingError, r"\(1, 0, 1\)"),
        ({"spacing_mm": 1.0}, SpacingError, "three positive lengths"),
        ({"spacing_mm": ("a", "b", "c")}, SpacingError, "ordered like the array"),
        ({"spacing_mm": "111"}, SpacingError, "'111'"),
        ({"spacing_mm": {3.0, 1.0, 2.0}}, SpacingError, "ordered like the array"),
        ({"spacing_mm": (10**400, 1, 1)}, SpacingError, "three positive"),
        ({"spacing_mm": (1e160, 1, 1)}, SpacingError, "1e\\+160"),
        ({"image": [[[1, 2], [3]]]}, IntensityError, "cannot be taken as an array"),
        ({"image": np.ma.masked_greater(np.ones((2, 2, 2)), 0)}, IntensityError, "filled"),
        ({"image": np.full((2, 2, 2), np.longdouble("1e4000"))}, IntensityError, "8 infinite"),
        ({"prompts": None}, PromptError, "None; a list of sentences"),
        ({"prompts": b"liver"}, PromptError, "a list of sentences"),
        ({"prompts": {"liver", "spleen"}}, PromptError, "in their order"),
        ({"instances": "no"}, InstanceLabelError, "'no'; True, False or None"),
        (
            {"prompts": {1: "cell", "instance_label": 1}, "instances": False},
            InstanceLabelError,
            "one of them",
        ),
        (
            {"prompts": {1: "cell", "instance-label": 1}, "instances": False},
            InstanceLabelError,
            "one of them",
        ),
        ({"modality": 5}, ModalityError, "5; a word"),
        ({"seconds": "5"}, UsageError, "'5'; a number above 0"),
        ({"seconds": float("nan")}, UsageError, "nan; a number above 0"),
        ({"progress": 5}, UsageError, "5; a function"),
        ({"prompts": []}, NoPromptsError, "no prompt"),
        ({"prompts": ["liver", " "]}, PromptTextError, "2"),
        ({"prompts": [3]}, PromptTextError, "1"),
        ({"prompts": {0: "liver"}}, PromptIdError, "0"),
        ({"modality": "X-ray film"}, ModalityError, "CT, MR, US, PET, Microscopy"),
        ({"seconds": 0}, UsageError, "a number above 0"),
        ({"mask": np.zeros((4, 4, 4))}, MaskShapeError, r"mask has shape \(4, 4, 4\); the volume's, \(32, "),
        ({"mask": np.full((32,) * 3, 0.5)}, MaskTypeError, "mask: holds 0.5; whole numbers"),
        (
            {"mask": np.arange(32**3).reshape((32,) * 3) % 2 + 2},
            MaskIdError,
            r"\[2, 3\], which are no prompt's .* case has \[1\]",
        ),
        ({"mask": "liver"}, MaskShapeError, r"mask has shape \(\)"),
        ({"mask": [[1], [1, 2]]}, MaskTypeError, "mask cannot be taken as an array"),
        ({"boxes": [(0, 0, 0, 1, 1)]}, BoxError, "no box; wanted are whole numbers"),
        ({"boxes": "box"}, BoxError, r"'box'; wanted are whole numbers, boxes=\{id: \[\(d0, h0, w0, d1"),
        ({"boxes": [("a", 0, 0, 1, 1, 1)]}, BoxError, r"'a' is no whole number, of \['a', 0, 0, 1, 1, 1\]"),
        (
            {"points": 5},
            PointError,
            r"prompt 1: 5; wanted are whole numbers, points=\{id: \[\(d, h, w, label",
        ),
        ({"points": [(1, 2)]}, PointError, r"\[1, 2\] is no voxel"),
        ({"points": [(1, 2, 3, "in")]}, PointError, "'in' is no label"),
    ],
)
def test_bad_input_is_a_named_error(
    model: Model, image: np.ndarray, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    given: dict[str, Any] = {"image": image, "spacing_mm": SPACING, "prompts": ["liver"], "modality": "CT"}
    with pytest.raises(error, match=message):
        model.segment(**(given | changes))


def test_a_mask_is_the_spatial_prompt(image: np.ndarray) -> None:
    """Of the fine stage, as with the command; with a single prompt True and False will do."""
    plain = make_model(Bright()).segment(image, SPACING, ["liver"], modality="CT")
    result = make_model(Bright()).segment(image, SPACING, ["liver"], modality="CT", mask=image == 200)
    assert "what the user marked" in result.report["stages"][1]["why"]
    assert "the user" not in plain.report["stages"][1]["why"] and not result.report["fallbacks"]


def test_load_names_what_is_wrong() -> None:
    with pytest.raises(ProfileError, match="no/such/weights"):
        vesal.load("no/such/weights")
    for threads in (0, 1.5, "2", True):
        with pytest.raises(UsageError, match=f"threads is {threads!r}; a whole number"):
            vesal.load(threads=threads)
    with pytest.raises(UsageError, match="mask_stage is 'nope'; one of coarse, fine, off"):
        vesal.load(mask_stage="nope")
    with pytest.raises(UsageError, match="runtime is 'tpu'; one of auto"):
        vesal.load(runtime="tpu")
    for weights in (None, "", "a\0b"):
        with pytest.raises(UsageError, match="a name of weights or a path"):
            vesal.load(weights)
    with pytest.raises(ProfileError, match="absent"):
        vesal.load(Path("absent"))


def test_the_package_says_what_it_has() -> None:
    assert dir(vesal) == sorted(vesal.__all__)
    assert all(getattr(vesal, name) is not None for name in vesal.__all__)
    assert vesal.Model is Model and vesal.CancelledError is CancelledError
    with pytest.raises(AttributeError, match="it has .*load"):
        _ = vesal.nothing


def test_threads_with_a_case_each_do_not_mix(image: np.ndarray) -> None:
    """Two cases of different shape and prompts take turns window by window; each gets its own result."""
    network = Bright()
    turns = threading.Barrier(2)

    def graph(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        turns.wait(timeout=120)
        return network(inputs)

    alone = make_model(Bright())
    cases = [(image, ["liver", "spleen"]), (image[:24, :, 2:].copy(), ["spleen"])]
    expected = [alone.segment(i, SPACING, p, modality="CT") for i, p in cases]
    shared_model = make_model(graph)
    found: dict[int, Any] = {}

    def work(number: int) -> None:
        given, prompts = cases[number]
        found[number] = shared_model.segment(given, SPACING, prompts, modality="CT")

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    for number, result in found.items():
        np.testing.assert_array_equal(result.labels, expected[number].labels)
        np.testing.assert_array_equal(result.probability(0), expected[number].probability(0))
        assert [p.target for p in result.prompts] == [p.target for p in expected[number].prompts]
        assert [s["windows"] for s in result.report["stages"]] == [1, 1]
    assert set(found) == {0, 1}


@pytest.mark.slow
def test_the_shipped_weights_from_two_threads(shared: Path) -> None:
    """The real runtime, which runs one request at a time: same bytes as one after the other."""
    model = vesal.load("nano")
    cases = []
    for path in sorted((shared / "data" / "val" / "MR_Hippocampus").glob("*.npz"))[:2]:
        with np.load(path) as archive:
            cases.append((archive["imgs"], archive["spacing"][::-1]))
    prompts = ["anterior hippocampus in brain MRI", "posterior hippocampus in brain MRI"]
    expected = [model.segment(image, spacing, prompts).labels for image, spacing in cases]
    found: dict[int, np.ndarray] = {}

    def work(number: int) -> None:
        for _ in range(3):
            found[number] = model.segment(*cases[number], prompts).labels

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(cases))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=600)
    assert len(found) == 2 and all(labels.any() for labels in expected)
    for number, labels in found.items():
        np.testing.assert_array_equal(labels, expected[number])
