"""The recorded checkpoint as `weights.convert` writes it, through command, `predict.sh` and Python."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the checkpoint is converted with torch")
pytest.importorskip("onnx", reason="graphs are written with onnx")

from tests.inference.fakes import run_command  # noqa: E402
from tests.networks.recorded_biomedparse_v import read_weights  # noqa: E402
from tests.weights.made_biomedparse_v import write_safetensors, write_tokenizer  # noqa: E402
from vesal.inference.api import load  # noqa: E402
from vesal.weights.convert.__main__ import main as convert  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")

ROOT = Path(__file__).parents[3]
SHAPE, SPACING_MM = (3, 30, 40), (4.0, 1.0, 1.0)
SENTENCES = ["liver", "liver in abdomen CT", "tumor of the left kidney, visible in the arterial phase"]


@pytest.fixture(scope="module")
def folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The converted folder, its slices of 128 pixels, and without the rule that empties slices: the random
    network says that nothing is there.
    """
    place = tmp_path_factory.mktemp("converted")
    checkpoint = write_safetensors(read_weights(shared, ""), place / "model.safetensors")
    words, out = write_tokenizer(place / "tokenizer"), place / "biomedparse-v"
    given = ["--checkpoint", str(checkpoint), "--tokenizer", str(words), "--out", str(out)]
    assert convert(["biomedparse-v", *given, "--store", "fp32", "--precision", "fp32"]) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["two_stage"] is False and manifest["attention"] == "boltzmann"
    for stage in manifest["stages"]:
        stage["layout"] |= {"side": 128, "least": 64}
    (out / "manifest.json").write_text(json.dumps(manifest | {"postprocess": [{"rule": "edges"}]}))
    return out


@pytest.mark.parametrize("count", [1, 3, 15])
def test_a_case_through_the_three_ways_in(count: int, folder: Path, tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
    texts = [SENTENCES[n % 3] + " in CT" * (n // 3) for n in range(count)]
    prompts = {str(n): text for n, text in enumerate(texts, 1)}
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    np.savez(
        inputs / "case.npz",
        imgs=image,
        spacing=np.array(SPACING_MM[::-1]),
        text_prompts=np.array({**prompts, "instance_label": 0}),
    )
    options = ["--weights", str(folder), "--runtime", "onnxruntime", "-q"]
    report = tmp_path / "report.json"
    assert run_command(inputs, tmp_path / "out", *options, "--report", report) == 0
    (case,) = json.loads(report.read_text())["cases"]
    assert len(case["prompts"]) == count and all(prompt["covered"] for prompt in case["prompts"])
    assert case["stages"][0]["windows"] == SHAPE[0]
    ran = subprocess.run(
        ["sh", str(ROOT / "predict.sh"), str(inputs), str(tmp_path / "again"), *options],
        env=os.environ | {"PYTHON": sys.executable},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    called = load(folder, runtime="onnxruntime").segment(image, SPACING_MM, texts).labels
    assert called.any(), "an empty map would agree with anything"
    for out in ("out", "again"):
        with np.load(tmp_path / out / "case.npz") as written:
            assert np.array_equal(written["segs"], called)


@pytest.mark.parametrize("groups", ["whole", "single"])
def test_slices_and_prompts_run_together_change_no_byte(groups: str, folder: Path, tmp_path: Path) -> None:
    """In ONNX Runtime, which rounds a single pair of slice and prompt in another way than several."""
    image = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
    manifest = json.loads((folder / "manifest.json").read_text()) | {"groups": groups}
    for texts in (SENTENCES[:1], SENTENCES):
        wanted: list[np.ndarray] = []
        for run, pairs in ((1, 16), (2, 16), (3, 16), (1, 1), (1, 2)):
            other = tmp_path / f"{len(texts)}-{run}-{pairs}"
            shutil.copytree(folder, other, ignore=shutil.ignore_patterns(".digests.json"))
            stages = json.loads(json.dumps(manifest["stages"]))
            for stage in stages:
                stage["layout"]["run"] = run
            fields = manifest | {"stages": stages, "pairs": pairs}
            (other / "manifest.json").write_text(json.dumps(fields))
            result = load(other, runtime="onnxruntime", threads=1).segment(image, SPACING_MM, texts)
            assert result.report["stages"][0]["windows"] == -(-SHAPE[0] // run)
            found = [result.probability(i) for i in range(len(texts))]
            wanted = wanted or found
            assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True)), (run, pairs)
