"""Where weights come from: a checked part of the manifest, and of every report."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.inference.fakes import FakeModel, Opener, write_case
from tests.inference.planning.test_profile import manifest, refusal, write
from vesal.inference.planning.manifest import Provenance, SourceFile
from vesal.inference.planning.profile import read_profile
from vesal.inference.planning.weights_folder import WEIGHTS
from vesal.inference.runner.run import run
from vesal.inference.runner.settings import Settings

TOLD = {
    "paper": "Somebody et al. 2025, Something",
    "repository": "somebody/something",
    "commit": "fcf3340",
    "code_licence": "MIT",
    "weights_licence": None,
    "files": {"coarse": {"file": "a.pth", "sha256": "0" * 64, "step": 7}},
    "modalities": ["CT", "MR"],
}


def test_a_manifest_says_where_weights_come_from(tmp_path: Path) -> None:
    told = read_profile(write(tmp_path, manifest() | {"provenance": TOLD})).provenance
    assert (told.paper, told.commit, told.modalities) == (TOLD["paper"], "fcf3340", ("CT", "MR"))
    assert told.files == {"coarse": SourceFile("a.pth", "0" * 64, 7)}


def test_a_manifest_that_says_nothing_is_read(tmp_path: Path) -> None:
    assert read_profile(write(tmp_path, manifest())).provenance == Provenance()


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"papers": "x"}, "$.provenance"),
        ({"commit": "main"}, "$.provenance.commit"),
        ({"modalities": ["MRI"]}, "$.provenance.modalities[0]"),
        ({"files": {"coarse": {"file": "a.pth", "sha256": "12"}}}, "$.provenance.files[...].sha256"),
        ({"weights_licence": 4}, "$.provenance.weights_licence"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(tmp_path: Path, changes: dict[str, Any], path: str) -> None:
    assert f"at `{path}`" in refusal(tmp_path, manifest() | {"provenance": TOLD | changes})


def test_the_default_weights_say_it_and_name_no_paper() -> None:
    content = json.loads((WEIGHTS / "nano" / "manifest.json").read_text())
    told = msgspec.convert(content["provenance"], Provenance)
    assert told.paper is None and told.repository == "this one" and not told.files
    assert told.weights_licence == content["licence"]
    trained = {t["modality"] for t in content["targets"] + content["not_covered"]}
    assert set(told.modalities) == trained


def test_the_report_of_a_run_names_it(tmp_path: Path) -> None:
    write_case(tmp_path / "case.npz")
    report = tmp_path / "report.json"
    settings = Settings(inputs=tmp_path / "case.npz", outputs=tmp_path / "out", report=report)
    run(settings, open_model=Opener(), now=lambda: 0.0)
    assert json.loads(report.read_text())["provenance"] == FakeModel.provenance
