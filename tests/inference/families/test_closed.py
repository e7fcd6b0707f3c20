"""The family `closed`: which output a prompt is, how intensities are shown, what windows add up to."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="sample graphs are written with onnx")

from tests.inference.fake_models import dice, made_image, make_profile, make_prompt, segment  # noqa: E402
from tests.samples.closed_weights import write_closed_weights  # noqa: E402
from vesal.inference.data.errors import ProfileError  # noqa: E402
from vesal.inference.data.prompt import Query  # noqa: E402
from vesal.inference.engine import Engine  # noqa: E402
from vesal.inference.families.closed import (  # noqa: E402
    ClosedClass,
    ClosedFields,
    ClosedGraphs,
    ClosedModel,
    ClosedNetwork,
    HounsfieldWindow,
    Standardised,
)
from vesal.inference.families.contract import Window  # noqa: E402
from vesal.inference.families.registry import check_profile, open_model  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.runtime.choice import choose_runtime  # noqa: E402

LIVER = (slice(4, 14), slice(10, 40), slice(12, 44))
SPLEEN = (slice(6, 16), slice(44, 58), slice(20, 50))
SIDED = ClosedFields(
    ClosedGraphs("network.onnx"),
    (ClosedClass("liver"), ClosedClass("kidney", "right"), ClosedClass("kidney", "left")),
    Standardised(),
    ClosedNetwork(2, (4, 4, 4)),
)


def opened(folder: Path, **changes: object) -> Engine:
    """Of the made weights."""
    profile = read_profile(write_closed_weights(folder, **changes))
    runtime = choose_runtime("onnxruntime", 1)
    return Engine(profile, runtime, open_model(profile, runtime))


@pytest.mark.parametrize("channels", [1, 2])
def test_a_case_in_several_windows(tmp_path: Path, channels: int) -> None:
    engine = opened(tmp_path, channels=channels)
    image = made_image((20, 60, 64), (LIVER, 200), (SPLEEN, 120))
    prompts = [make_prompt(1, "liver"), make_prompt(2, "spleen"), make_prompt(3, "kidney", "left")]
    found = segment(engine, image, prompts, spacing_dhw_mm=(2.0, 1.0, 1.0))
    assert dice(found.labels == 1, image == 200) == 1
    assert dice(found.labels == 2, image == 120) == 1
    assert [result.covered for result in found.prompts.values()] == [True, True, False]
    assert found.stages[0].windows > 1


def test_the_windows_ends_are_minus_one_and_one() -> None:
    """0 and 255 stand for -160 and 240 HU."""
    shown = HounsfieldWindow(-175.0, 250.0).of(np.array([0, 127.5, 255], np.float32), (0.0, 1.0))
    # (-160 + 175) / 425, (40 + 175) / 425 and (240 + 175) / 425, twice and less one
    np.testing.assert_allclose(shown, [15 / 425 * 2 - 1, 215 / 425 * 2 - 1, 415 / 425 * 2 - 1], rtol=1e-5)
    narrow = HounsfieldWindow(-60.0, 140.0).of(np.array([0, 255], np.float32), (0.0, 1.0))
    np.testing.assert_allclose(narrow, [-1, 1])


def test_a_volume_is_standardised_by_its_own_mean() -> None:
    np.testing.assert_allclose(Standardised().of(np.array([55, 155], np.float32), (55.0, 50.0)), [0, 2])


def test_sides_have_outputs_of_their_own_and_others_count_though_not_asked_for() -> None:
    seen = []

    def graph(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        seen.append(inputs["image"])
        shape = inputs["image"].shape[2:]
        values = np.array([0.1, 0.2, 0.3, 0.4], np.float32)  # background, liver, right, left
        return {"probability": np.broadcast_to(values.reshape(1, 4, 1, 1, 1), (1, 4, *shape)).copy()}

    model = ClosedModel(graph, SIDED, make_profile())
    right, left = (Query(1, "kidney", "kidney", side, "CT", "organ") for side in ("right", "left"))
    prompts = model.encode_prompts([left, right])
    decoded = model.decode(model.encode(Window(np.ones((1, 3, 5, 4), np.float32), 0)), prompts, None, None)
    # Padded to multiples of four, one scan in both channels.
    assert seen[0].shape == (1, 2, 4, 8, 4) and (seen[0] == 1).all()
    assert decoded.probability.shape == (2, 3, 5, 4)
    # The most probable class against the next; another one against the most probable.
    np.testing.assert_allclose(decoded.probability[:, 0, 0, 0], [0.4 / 0.7, 0.3 / 0.7], rtol=1e-6)
    np.testing.assert_allclose(prompts.part([1]).outputs, [2])


@pytest.mark.parametrize(
    ("changes", "field"),
    [({"intensity": {"kind": "none"}}, "intensity"), ({"classes": []}, "classes")],
)
def test_a_manifest_that_tells_too_little_is_refused(
    tmp_path: Path, changes: dict[str, object], field: str
) -> None:
    with pytest.raises(ProfileError, match=field):
        check_profile(read_profile(write_closed_weights(tmp_path, **changes)))
