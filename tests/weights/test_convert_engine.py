"""A converted folder from the first step to the last: opened by the engine, asked with sentences."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="published files are converted with torch")
pytest.importorskip("onnx", reason="conversion writes ONNX graphs")

from tests.weights.made import make  # noqa: E402
from vesal.inference.runner.run import run  # noqa: E402
from vesal.inference.runner.settings import Settings  # noqa: E402
from vesal.weights.convert.__main__ import main  # noqa: E402

SENTENCES = {"1": "Liver in abdominal CT", "4": "the left kidney on CT", "instance_label": 0}


@pytest.mark.slow
@pytest.mark.parametrize("system", ["medal-s", "sat"])
def test_a_converted_folder_answers_a_case(tmp_path: Path, system: str) -> None:
    """The network is random, so what it finds is; that every stage ran, and wrote a whole map, is not."""
    torch.set_num_threads(1)
    made = make(tmp_path / "files", system)
    window = "crop_size_64_64_32_spacing_2.0_2.0_4.0_step_7.pth"
    for name in ("--stage2", "--model"):
        if name in made.arguments:
            at = made.arguments.index(name) + 1
            file = Path(made.arguments[at])
            made.arguments[at] = str(file.rename(file.with_name(f"{file.stem}_{window}")))
    assert main(made.arguments) == 0
    image = np.random.default_rng(0).integers(0, 256, (20, 70, 60)).astype(np.uint8)
    (tmp_path / "in").mkdir()
    np.savez(
        tmp_path / "in" / "CT_made.npz",
        imgs=image,
        spacing=np.array([2.0, 2.0, 4.0]),
        text_prompts=np.array(SENTENCES, dtype=object),
    )
    report = tmp_path / "report.json"
    settings = Settings(
        inputs=tmp_path / "in",
        outputs=tmp_path / "out",
        weights=str(made.out),
        report=report,
        threads=1,
        runtime="onnxruntime",
    )
    assert run(settings, now=lambda: 0.0) == 0, report.read_text()
    (case,) = json.loads(report.read_text())["cases"]
    assert not case["fallbacks"]
    assert all(prompt["covered"] for prompt in case["prompts"])
    names = {stage["stage"] for stage in case["stages"]}
    assert "fine" in names and ("coarse" in names) == (system == "medal-s")
    with np.load(tmp_path / "out" / "CT_made.npz") as written:
        labels = written["segs"]
    assert labels.shape == image.shape and set(np.unique(labels)) <= {0, 1, 4}
    assert labels.any()
