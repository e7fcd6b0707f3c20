"""The family `spad`: a graph for each of five degrees, volumes of any spacing, masks and presence."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="sample graphs are written with onnx")

from tests.inference.fake_models import BANK, dice, made_image, make_profile, make_prompt, segment  # noqa: E402
from tests.samples.spad_weights import RATIOS, write_spad_weights  # noqa: E402
from vesal.inference.data.errors import ProfileError  # noqa: E402
from vesal.inference.data.prompt import Query  # noqa: E402
from vesal.inference.engine import Engine  # noqa: E402
from vesal.inference.families.contract import Window  # noqa: E402
from vesal.inference.families.registry import check_profile, open_model  # noqa: E402
from vesal.inference.families.spad import SpadModel  # noqa: E402
from vesal.inference.planning.profile import read_profile  # noqa: E402
from vesal.inference.runtime.choice import choose_runtime  # noqa: E402

LIVER = (slice(4, 11), slice(8, 26), slice(12, 34))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Of the made weights."""
    profile = read_profile(write_spad_weights(tmp_path_factory.mktemp("spad")))
    runtime = choose_runtime("onnxruntime", 1)
    return Engine(profile, runtime, open_model(profile, runtime))


@pytest.mark.parametrize(
    ("thick_mm", "degree"), [(1.0, 0), (2.0, 1), (5.0, 2), (10.0, 3), (20.0, 4), (200.0, 4)]
)
def test_a_volume_of_any_spacing_is_run_at_its_degree(engine: Engine, thick_mm: float, degree: int) -> None:
    image = made_image((16, 32, 48), (LIVER, 200))  # fits into a window, so no view is coarser
    found = segment(engine, image, [make_prompt(1, "liver")], spacing_dhw_mm=(thick_mm, 1.0, 1.0))
    assert dice(found.labels == 1, image == 200) > 0.9
    assert len(found.stages) == 2
    assert all(f"degree {degree}" in stage.why for stage in found.stages), [s.why for s in found.stages]


def test_each_degree_has_its_graph() -> None:
    asked = []

    def graph(degree: int):
        def run(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            asked.append(degree)
            shape = inputs["prompt"].shape
            return {"probability": np.zeros(shape, np.float32), "presence": np.ones(shape[:3], np.float32)}

        return run

    model = SpadModel({degree: graph(degree) for degree in range(5)}, BANK, make_profile())
    prompts = model.encode_prompts([Query(1, "liver", "liver", None, "CT", "organ")])
    for degree in range(5):
        window = Window(np.zeros((2, 16 >> degree, 16, 16), np.float32), degree)
        decoded = model.decode(model.encode(window), prompts, None, None)
        assert decoded.presence is not None and decoded.presence.shape == (1, 16 >> degree)
    assert asked == [0, 1, 2, 3, 4]


def test_it_takes_masks_boxes_and_points_and_tells_presence(engine: Engine) -> None:
    can = check_profile(engine.profile)
    assert can.user_prompts() == ("mask", "boxes", "points")
    assert can.presence and can.degrees and can.highest_degree == 4


def test_a_degree_without_a_graph_is_refused(tmp_path: Path) -> None:
    layout = {"kind": "fit", "multiple": 32, "degree_ratios": [*RATIOS, 32.0]}
    stages = [{"name": "coarse", "role": "locate", "window_voxels": 64**3, "layout": layout}]
    profile = read_profile(write_spad_weights(tmp_path, stages=stages))
    with pytest.raises(ProfileError, match=r"stages\[0\].layout.degree_ratios.*up to degree 4"):
        check_profile(profile)


def test_a_manifest_without_a_degree_is_refused(tmp_path: Path) -> None:
    graphs = {str(degree): f"degree{degree}.onnx" for degree in range(4)}
    with pytest.raises(ProfileError, match="missing required field `4`"):
        check_profile(read_profile(write_spad_weights(tmp_path, graphs=graphs)))
