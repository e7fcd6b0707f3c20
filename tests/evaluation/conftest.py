"""Small cases on disk, and a fake container engine."""

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from vesal.evaluation import measure

FAKE_ENGINE = """#!/bin/sh
# Answers as docker does; `container run` runs predict.sh of $FAKE_HOME on the folders it would mount.
echo "$@" >> "$FAKE_HOME/calls"
case "$1" in
  info) exit "${FAKE_INFO:-0}" ;;
  image) case "$3" in vesal:latest) exit 0 ;; *) exit 1 ;; esac ;;
  inspect) echo 0; exit 0 ;;
  kill) exit 0 ;;
esac
shift 2
while [ $# -gt 1 ]; do
  case "$1" in
    *:/workspace/inputs/) inputs=${1%%:*} ;;
    *:/workspace/outputs/) outputs=${1%%:*} ;;
  esac
  shift
done
cd "$FAKE_HOME"
case "$1" in
  "sh predict.sh") exec sh predict.sh "$inputs" "$outputs" ;;
  *) exec sh -c "$1" ;;
esac
"""


@pytest.fixture
def folders(tmp_path):
    """Empty folders for images, predictions and ground truth."""
    made = {name: tmp_path / name for name in ("images", "predictions", "groundtruth")}
    for folder in made.values():
        folder.mkdir()
    return made


@pytest.fixture
def put(folders):
    """Write one case; leave out what is None."""

    def write(name, truth, prediction, prompts=None, instance=0, spacing=(1.0, 1.0, 1.0)):
        shape = (prediction if truth is None else truth).shape
        prompts = {str(i): s for i, s in (prompts or {1: "CT imaging of the liver"}).items()}
        text = np.array(prompts | {"instance_label": instance}, dtype=object)
        image = np.zeros(shape, np.uint8)
        np.savez(folders["images"] / f"{name}.npz", imgs=image, spacing=np.array(spacing), text_prompts=text)
        if truth is not None:
            np.savez(folders["groundtruth"] / f"{name}.npz", gts=truth)
        if prediction is not None:
            np.savez(folders["predictions"] / f"{name}.npz", segs=prediction)

    return write


@pytest.fixture
def cube():
    """Make a (6,6,6) map with a block of 2x2x2 voxels of one id at a corner."""

    def make(label=1, at=(1, 1, 1), dtype=np.uint8):
        labels = np.zeros((6, 6, 6), dtype)
        labels[tuple(slice(a, a + 2) for a in at)] = label
        return labels

    return make


@pytest.fixture
def submission(tmp_path, monkeypatch):
    """A folder with a predict.sh that hands out the files of `ready`, and a fake docker on the PATH."""
    home = tmp_path / "submission"
    (home / "ready").mkdir(parents=True)
    (home / "predict.sh").write_text('#!/bin/sh\nset -eu\ncp ready/* "$2"\n')
    programs = tmp_path / "bin"
    programs.mkdir()
    docker = programs / "docker"
    docker.write_text(FAKE_ENGINE)
    docker.chmod(docker.stat().st_mode | stat.S_IXUSR)
    for name in ("sh", "cat", "cp", "sleep"):
        (programs / name).symlink_to(next(p for p in _found(name)))
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(measure, "CALL_TIMEOUT_S", 600)
    monkeypatch.setenv("FAKE_HOME", str(home))
    return home


def _found(name):
    folders = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    return (folder / name for folder in folders if (folder / name).exists())
