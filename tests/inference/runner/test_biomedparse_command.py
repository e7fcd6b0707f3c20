"""A folder of slice weights through command, `predict.sh` and call from Python; odd cases among others."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the graphs are written with onnx")
pytest.importorskip("onnxruntime", reason="the graphs are run")

from tests.inference.fake_models import made_image  # noqa: E402
from tests.inference.fakes import run_command  # noqa: E402
from tests.samples.biomedparse_weights import write_biomedparse_weights  # noqa: E402
from vesal.inference.api import load  # noqa: E402

ROOT = Path(__file__).parents[3]
IMAGE = made_image(
    (10, 40, 52),
    ((slice(3, 8), slice(8, 24), slice(8, 24)), 200),
    ((slice(2, 9), slice(26, 38), slice(30, 46)), 120),
)
SPACING_XYZ = (1.0, 1.0, 3.0)
LONG = " ".join(["liver", *["hepatic", "segment", "enhancing"] * 66, "abdominal"])
"""200 words of a report's length, 1,700 characters"""


def sentences(count: int) -> dict[str, str]:
    """Liver, spleen, and others that are nowhere."""
    names = ["liver in CT", "spleen in CT", *(f"left {'left ' * n}kidney in CT" for n in range(13))]
    return {str(3 * n + 1): name for n, name in enumerate(names[:count])}


def save(folder: Path, name: str, image: np.ndarray, prompts: dict[str, Any]) -> None:
    folder.mkdir(exist_ok=True)
    np.savez_compressed(
        folder / f"{name}.npz", imgs=image, spacing=np.array(SPACING_XYZ), text_prompts=np.array(prompts)
    )


def labels_of(path: Path) -> np.ndarray:
    with np.load(path, allow_pickle=False) as archive:
        return archive["segs"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_biomedparse_weights(tmp_path_factory.mktemp("made") / "weights")


@pytest.mark.parametrize("count", [1, 3, 15])
def test_the_three_ways_in_give_the_same_labels(count: int, weights: Path, tmp_path: Path) -> None:
    prompts = sentences(count)
    save(tmp_path / "inputs", "case", IMAGE, {**prompts, "instance_label": 0})
    options = ["--weights", str(weights), "--runtime", "onnxruntime", "-q"]
    report = tmp_path / "report.json"
    assert run_command(tmp_path / "inputs", tmp_path / "out", *options, "--report", report) == 0
    found = labels_of(tmp_path / "out" / "case.npz")
    assert {1, 4} <= set(np.unique(found)) or count == 1 and 1 in found
    (case,) = json.loads(report.read_text())["cases"]
    assert [prompt["asked_as"] for prompt in case["prompts"]] == ["sentence"] * count
    assert case["stages"][0]["windows"] == len(IMAGE), "each slice is encoded once, whatever the prompts"

    environment = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        ["sh", str(ROOT / "predict.sh"), str(tmp_path / "inputs"), str(tmp_path / "container"), *options],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert np.array_equal(labels_of(tmp_path / "container" / "case.npz"), found)

    called = load(weights, runtime="onnxruntime").segment(
        IMAGE, SPACING_XYZ[::-1], {int(id_): text for id_, text in prompts.items()}
    )
    assert np.array_equal(called.labels, found)


def test_odd_cases_have_their_answers(weights: Path, tmp_path: Path) -> None:
    """All in one run: every case gets its file, and what is wrong with one is told there."""
    inputs, two = tmp_path / "inputs", {"1": "liver in CT", "2": "spleen in CT", "instance_label": 0}
    save(inputs, "empty-sentence", IMAGE, two | {"1": "  "})
    save(inputs, "long-sentence", IMAGE, two | {"1": LONG})
    save(inputs, "no-sentence", IMAGE, {"1": "", "instance_label": 0})
    save(inputs, "one-slice", IMAGE[4:5], two)
    save(inputs, "thin", made_image((6, 1, 700), ((slice(1, 5), slice(0, 1), slice(100, 500)), 200)), two)
    report = tmp_path / "report.json"
    options = ["--weights", weights, "--runtime", "onnxruntime", "-q", "--report", report]
    assert run_command(inputs, tmp_path / "out", *options) == 1, "one case has no prompt at all"
    cases = {case["name"]: case for case in json.loads(report.read_text())["cases"]}
    labels = {name: labels_of(tmp_path / "out" / f"{name}.npz") for name in cases}

    assert any("blank" in note or "empty" in note for note in cases["empty-sentence"]["notes"])
    assert set(np.unique(labels["empty-sentence"])) == {0, 2}
    assert any("200 tokens" in note for note in cases["long-sentence"]["notes"])
    assert cases["long-sentence"]["state"] == "ok" and 2 in labels["long-sentence"]
    assert cases["no-sentence"]["error"] and not labels["no-sentence"].any()
    assert cases["one-slice"]["state"] == "ok" and {1, 2} <= set(np.unique(labels["one-slice"]))
    assert cases["thin"]["state"] == "ok" and labels["thin"].shape == (6, 1, 700)


def test_two_thousand_slices_take_no_more_memory_than_two_hundred(weights: Path, tmp_path: Path) -> None:
    """In processes of their own, whose peaks are theirs alone. A slice of all prompts as floats is
    48 kB: 1,800 more of them would be 86 MB.
    """
    code = (
        "import resource, sys, numpy as np\n"
        "from vesal.inference.api import load\n"
        "image = np.full((int(sys.argv[2]), 16, 16), 20, np.uint8)\n"
        "image[90:110] = 200\n"
        "model = load(sys.argv[1], runtime='onnxruntime', threads=1)\n"
        "labels = model.segment(image, (1., 1., 1.), ['liver', 'spleen', 'kidney']).labels\n"
        "assert (labels[95:105] == 1).any() and not labels[120:].any()\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)\n"
    )
    peaks = []
    for slices in (200, 2000):
        ran = subprocess.run(
            [sys.executable, "-c", code, str(weights), str(slices)],
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(ran.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 40, peaks
