"""Made volumes in challenge format, a dim body with bright cubes that the prompts ask for; two processes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from vesal.networks.nano import TEXT
from vesal.training.feeder import Feeder
from vesal.training.store import SetRule, Volume, read_volume

SHAPE = (14, 24, 20)
SPACING_XYZ = (1.0, 1.0, 1.0)
LIVER = (slice(3, 9), slice(4, 12), slice(4, 12))
"""384 voxels of intensity 200, label 1."""
SPLEEN = (slice(8, 12), slice(15, 20), slice(10, 17))
"""140 voxels of intensity 120, label 3: ids need not be consecutive."""
THIN = (8, 8, 16, 16)
"""Widths of a network that trains in milliseconds."""
PROMPTS = {"1": "Liver in abdominal CT", "3": "Spleen in abdominal CT", "instance_label": 0}


def rule(**changes: object) -> SetRule:
    """Rule of a set that is drawn often, never mirrored and never cropped."""
    return SetRule(
        **({"weight": 1.0, "flips": "none", "crops": 0.0, "body": (), "skip": (), "also": ()} | changes)
    )


def write_volume(
    path: Path, prompts: dict[str, object] | None = None, spacing_xyz: tuple[float, ...] = SPACING_XYZ
) -> Path:
    """Write a labelled volume of `SHAPE`; background 40, liver 200, spleen 120."""
    image, labels = np.full(SHAPE, 40, np.uint8), np.zeros(SHAPE, np.uint8)
    for at, level, label in ((LIVER, 200, 1), (SPLEEN, 120, 3)):
        image[at], labels[at] = level, label
    path.parent.mkdir(parents=True, exist_ok=True)
    asked = np.array(prompts or PROMPTS)
    np.savez_compressed(path, imgs=image, gts=labels, spacing=np.array(spacing_xyz), text_prompts=asked)
    return path


def made_volume(folder: Path, dataset: str = "CT_Made", **kwargs: object) -> Volume:
    """The volume of `write_volume`, read again."""
    return read_volume(write_volume(folder / dataset / f"{dataset}_1.npz", **kwargs))


def made_bank(*names: str) -> dict[str, np.ndarray]:
    """A text vector for each name, all different."""
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=TEXT).astype(np.float32) for name in names}


SAFETY_S = 300.0
"""Turns a test that would wait for ever into one that fails; nothing else ends by it."""


def wait_until_full(feeder: Feeder) -> None:
    """Until as many coarse views are prepared as there is room for: a network cannot be slower."""
    prepared = feeder._coarse
    with prepared.not_empty:
        assert prepared.not_empty.wait_for(lambda: prepared._qsize() == prepared.maxsize, SAFETY_S)


NO_GLOO = 77
"""Exit code of a script where gloo cannot reach its neighbour on this machine."""
JOINED = """
import sys
import torch
from vesal.training.parallel import Group
rank = int(sys.argv[1])
try:
    group = Group(rank, 2, sys.argv[2])
    torch.distributed.barrier()
except (RuntimeError, OSError) as error:
    print(error, file=sys.stderr)
    sys.exit(77)
"""
"""``group`` of two processes, and which of them this one is."""


def run_two(root: Path, folder: Path, script: str) -> list[str]:
    """What each of two processes prints that run ``script`` as a group; skips the test where none can be."""
    (folder / "script.py").write_text(JOINED + script)
    processes = [
        subprocess.Popen(
            [sys.executable, str(folder / "script.py"), str(rank), str(folder / "rendezvous")],
            env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        outs = [p.communicate(timeout=SAFETY_S) for p in processes]
    finally:
        for p in processes:
            p.kill()
    if NO_GLOO in [p.returncode for p in processes]:
        pytest.skip(f"gloo cannot connect two processes here: {outs[0][1] or outs[1][1]}")
    assert [p.returncode for p in processes] == [0, 0], outs
    return [out for out, _ in outs]
