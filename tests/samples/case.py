"""A case that both sample families can find something in, and the command that runs it."""

import json
from pathlib import Path

import numpy as np

from tests.inference.fake_models import made_image
from tests.inference.fakes import run_command

SHAPE, SPACING_MM = (21, 50, 47), (3.0, 1.0, 1.0)
LIVER, SPLEEN = (slice(5, 12), slice(10, 25), slice(9, 28)), (slice(14, 18), slice(30, 40), slice(30, 40))
IMAGE = made_image(SHAPE, (LIVER, 200), (SPLEEN, 120))
SENTENCES = {"1": "Liver in abdominal CT", "2": "Spleen in abdominal CT", "3": "Pancreas in abdominal CT"}


def write_case(folder: Path, **arrays: object) -> Path:
    """A case in challenge format."""
    folder.mkdir()
    prompts = np.array({**SENTENCES, "instance_label": 0}, dtype=object)
    np.savez(
        folder / "case.npz", imgs=IMAGE, spacing=np.array(SPACING_MM[::-1]), text_prompts=prompts, **arrays
    )
    return folder


def run(tmp_path: Path, weights: Path, *options: str, **arrays: object) -> tuple[int, dict, np.ndarray]:
    """Exit code, the case's report and its labels."""
    out = tmp_path / "out"
    inputs = write_case(tmp_path / "in", **arrays)
    told = tmp_path / "report.json"
    fixed = ("--weights", str(weights), "--runtime", "onnxruntime", "--report", str(told), "-q")
    code = run_command(inputs, out, *fixed, *options)
    report = json.loads(told.read_text())
    with np.load(out / "case.npz") as written:
        return code, report["cases"][0], written["segs"]
