"""Files of a weights folder are those that the manifest means, in the folder and with a digest."""

import json
from pathlib import Path
from typing import Any

import pytest

from vesal.inference.data.errors import ProfileError
from vesal.inference.planning.profile import read_profile

GRAPHS = ("degree0.onnx", "degree1.onnx", "degree2.onnx")
SHA256 = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
"""Of a file that holds an x."""


def manifest() -> dict[str, Any]:
    return {
        "name": "made",
        "family": "nano",
        "licence": "none",
        "graphs": {str(degree): name for degree, name in enumerate(GRAPHS)},
        "bank": "bank.npz",
        "stages": [{"name": "fine", "role": "refine", "window_voxels": 32**3}],
        "targets": [],
        "files": {name: {"sha256": SHA256} for name in (*GRAPHS, "bank.npz")},
    }


def write(folder: Path, content: dict[str, Any]) -> Path:
    for name in (*GRAPHS, "bank.npz"):
        (folder / name).write_text("x")
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("name", ["../evil/degree0.onnx", "/degree0.onnx", "a/../../degree0.onnx", "..", "."])
@pytest.mark.parametrize("where", ["graphs", "files", "bank"])
def test_a_file_outside_of_the_folder_is_refused(tmp_path: Path, where: str, name: str) -> None:
    content = manifest()
    if where == "graphs":
        content["graphs"]["0"] = name
    elif where == "files":
        content["files"][name] = content["files"][GRAPHS[0]]
    else:
        content["bank"] = name
    with pytest.raises(ProfileError, match="does not describe weights"):
        read_profile(write(tmp_path, content))


def test_a_file_without_a_digest_is_not_opened(tmp_path: Path) -> None:
    profile = read_profile(write(tmp_path, manifest()))
    assert profile.file(GRAPHS[0]).is_file()
    with pytest.raises(ProfileError, match="uses more.onnx but gives no sha256"):
        profile.file("more.onnx")
