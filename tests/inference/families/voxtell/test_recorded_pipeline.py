"""Whole cases as VoxTell's public predictor was recorded running them, from the file to the masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec import structs

torch = pytest.importorskip("torch", reason="the network's definition needs torch")
pytest.importorskip("onnxruntime", reason="the graphs are run")

from tests.conftest import SHARED  # noqa: E402
from tests.inference.fake_models import Saved  # noqa: E402
from tests.inference.families.voxtell.recorded import (  # noqa: E402
    PROMPTS,
    WINDOW,
    Run,
    write_recorded_weights,
)
from vesal.inference.call_arguments import checked_prompts  # noqa: E402
from vesal.inference.data.case import Case  # noqa: E402
from vesal.inference.data.prompt import ModalityChoice, Prompt  # noqa: E402
from vesal.inference.engine import Engine  # noqa: E402
from vesal.inference.families.registry import open_model  # noqa: E402
from vesal.inference.families.voxtell.preprocess import measure  # noqa: E402
from vesal.inference.geometry.layouts import first_box  # noqa: E402
from vesal.inference.geometry.resample import to_view  # noqa: E402
from vesal.inference.io.formats import open_case  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.prompts.case_meaning import settle  # noqa: E402
from vesal.inference.runtime.choice import choose_runtime  # noqa: E402
from vesal.inference.stages.native_views import take_larger  # noqa: E402
from vesal.inference.stages.segmentation import Segmentation  # noqa: E402
from vesal.inference.stages.sliding_window import run_windows  # noqa: E402
from vesal.inference.stages.view_task import Volume, windows_of  # noqa: E402
from vesal.inference.stages.window_input import window_of  # noqa: E402
from vesal.inference.timing.clock import Clock  # noqa: E402

RUNS = [
    (case, step)
    for case, step in (("case_a", 50), ("case_a", 75), ("case_b", 50), ("case_c", 50), ("case_c", 75))
    if case != "case_c" or (SHARED / f"fixtures/voxtell/pipeline/{case}.npz").exists()
]
"""Without those that are kept back."""
LARGEST, RMS, MASK_VOXELS = 2e-3, 1e-4, 20
"""Of logits in fp32, and voxels of all masks of a case that may differ."""
CHOICE = ModalityChoice("CT", "given", "the test says so")


@pytest.fixture(scope="module")
def weights(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_recorded_weights(shared, tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="module", params=RUNS, ids=[f"{case}-{step}" for case, step in RUNS])
def run(request: pytest.FixtureRequest, shared: Path) -> Run:
    case, step = request.param
    return Run(shared, case, step)


def engine_of(weights: Path, step: int, **fields: Any) -> Engine:
    """An engine with windows that step by so many percent of a side."""
    profile = read_profile(weights)
    stages = tuple(structs.replace(rule, overlap=1 - step / 100) for rule in profile.stages)
    profile = replace(profile, stages=stages, family_fields={**profile.family_fields, **fields})
    runtime = choose_runtime("onnxruntime", 1)
    return Engine(profile, runtime, open_model(profile, runtime))


def read(run: Run, prompts: tuple[str, ...] = PROMPTS) -> tuple[Case, list[Prompt]]:
    """The case of a file, with its numbers."""
    asked = {n: text for n, text in enumerate(prompts, 1)}
    with open_case(run.folder / f"{run.case}.nii.gz") as reader:
        case = reader.read(checked_prompts(asked))
    case = settle(case, (), CHOICE, keep_numbers=True)
    assert case.numbers is not None
    return case, [Prompt(n, text, "CT", (), "none", None, "") for n, text in asked.items()]


def test_every_step_is_as_recorded(run: Run, weights: Path) -> None:
    """Crop, normalised numbers, padding, windows, weights, and the logits of all prompts."""
    engine = engine_of(weights, run.step)
    case, prompts = read(run)
    plan = engine.model.plan(prompts, engine.profile, case)
    turned = plan.orientation.turn_case(case)
    assert turned.numbers is not None
    rule = plan.batches[0].stages[0]
    volume = Volume(turned.numbers, turned.spacing_dhw_mm, measure(turned.numbers))
    box = first_box(rule.layout, volume.image)
    np.testing.assert_array_equal(np.transpose([box.start, box.stop]), run.stored["bbox"])
    np.testing.assert_allclose(volume.spacing_dhw_mm, run.stored["spacing"], rtol=1e-6)
    mean, std = run.stored["crop_mean_std_float64"]
    assert (volume.measured.mean, volume.measured.std) == pytest.approx((mean, std), rel=1e-9)
    view = volume.lay(box, rule, ())
    assert view.shape == tuple(run.stored["padded_shape"][1:])
    size, corners = windows_of(view, rule.window_voxels, rule.overlap)
    assert size == WINDOW
    np.testing.assert_array_equal(corners, run.of_step("windows"))

    weight = np.zeros(view.shape, np.float32)
    for corner in corners:
        weight[tuple(slice(a, a + n) for a, n in zip(corner, size, strict=True))] += view.tiling.weight(size)
    np.testing.assert_array_equal(weight[::3, ::3, ::3], run.of_step("sum_weights_fp32"))

    stage = engine.model.stage("whole")
    image = stage.prepare(to_view(volume.image, view), view, volume.measured)
    inside = tuple(slice(*side) for side in view.tiling.inside)  # type: ignore[attr-defined]
    own, wanted = image[(slice(None), *inside)], run.stored["normalised"]
    if own.shape != wanted.shape:
        own = own[:, ::3, ::3, ::3]
    np.testing.assert_allclose(own, wanted, atol=2e-6)

    texts = engine.model.encode_prompts(plan.batches[0].queries)

    def predict(at: Any) -> Any:
        encoded = stage.encode(window_of(image, view, at))
        return stage.decode(encoded, texts, None, None).probability, None, None

    found = run_windows(predict, view, size, corners, len(PROMPTS)).probability
    logits = np.stack([np.asarray(row)[inside] for row in found])[:, ::3, ::3, ::3]
    difference = logits - run.of_step("logits_fp32")
    assert np.abs(difference).max() <= LARGEST
    assert np.sqrt(np.mean(difference**2)) <= RMS


def segment(engine: Engine, case: Case, prompts: list[Prompt]) -> Segmentation:
    """The case with all masks."""
    still = Clock(600.0, 0.0, lambda: 0.0)
    return engine.segment(case, prompts, still, Saved(), keep_probabilities=True)


def masks_of(found: Segmentation, shape: tuple[int, ...]) -> np.ndarray:
    """(N, z, y, x) bool of the volume as it was run."""
    out = np.zeros(shape, np.float32)
    for row, id_ in zip(out, sorted(found.probabilities), strict=True):
        for values, view in found.probabilities[id_]:
            take_larger(row, np.asarray(values), view)
    return out > 0.5


def test_masks_through_the_engine_are_those_recorded(run: Run, weights: Path) -> None:
    case, prompts = read(run)
    found = segment(engine_of(weights, run.step), case, prompts)
    assert np.count_nonzero(masks_of(found, run.shape) != run.masks) <= MASK_VOXELS
    back = np.stack([found.orientation.turn(found.labels == n) for n in (1, 2, 3)])
    any_of = run.masks.any(0)
    assert np.count_nonzero(back.any(0) != any_of) <= MASK_VOXELS
    assert not np.any(back & ~run.masks & any_of & (back.sum(0) > 1)), "each voxel has one owner"
    assert not found.fallbacks and not found.ladder


def test_the_later_prompt_wins_where_that_is_wanted(weights: Path, shared: Path) -> None:
    run = Run(shared, "case_a", 75)
    case, prompts = read(run)
    found = segment(engine_of(weights, run.step, overlaps="later"), case, prompts)
    wanted = np.zeros(run.shape[1:], np.uint8)
    for number, mask in enumerate(run.masks, 1):
        wanted[mask] = number
    labels = found.orientation.turn(found.labels)
    assert np.count_nonzero(labels != wanted) <= MASK_VOXELS
    assert np.count_nonzero(run.masks.sum(0) > 1) > MASK_VOXELS, "else nothing is asked for"


def test_one_prompt_alone_gets_its_whole_mask(weights: Path, shared: Path) -> None:
    run = Run(shared, "case_b", 50)
    case, prompts = read(run, PROMPTS[1:2])
    found = segment(engine_of(weights, run.step), case, prompts)
    labels = found.orientation.turn(found.labels)
    assert np.count_nonzero((labels == 1) != run.masks[1]) <= MASK_VOXELS


def test_weights_of_16_bits_give_what_was_recorded_with_them(weights: Path, shared: Path) -> None:
    run = Run(shared, "case_a", 75)
    engine = engine_of(weights, run.step, half_weights=True)
    case, prompts = read(run, PROMPTS[:1])
    found = segment(engine, case, prompts)
    values, view = found.probabilities[1][0]
    inside = tuple(slice(*side) for side in view.tiling.inside)  # type: ignore[attr-defined]
    p = np.asarray(values)[inside][::3, ::3, ::3].astype(np.float64)
    recorded = run.of_step("logits_fp32_gauss16")[0]
    low = np.abs(recorded) < 4  # beyond it probabilities are no plain sigmoid
    logits = np.log(p[low] / (1 - p[low]))
    assert np.abs(logits - recorded[low]).max() <= LARGEST
