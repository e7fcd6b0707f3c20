"""``python -m vesal.training`` as a whole, on two made sets and with a thin network."""

import os
import signal
import subprocess
import sys
import threading
from argparse import Namespace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import SAFETY_S, THIN, rule, run_two, write_volume  # noqa: E402
from vesal.training.__main__ import chosen, main, shelves_of  # noqa: E402
from vesal.training.export import CHECKPOINT  # noqa: E402
from vesal.training.loop import SAVE_EVERY_STEPS, processor_precision  # noqa: E402
from vesal.training.shelf import read  # noqa: E402
from vesal.training.store import read_rules  # noqa: E402

HEART = {"1": "Left ventricle in cardiac MR", "3": "Right ventricle in cardiac MR", "instance_label": 0}
STEPS = SAVE_EVERY_STEPS + 3
HALTING = """
import sys
from vesal.training.__main__ import main
from vesal.training.loop import Trainer
save = Trainer.save
def save_and_wait(trainer):
    save(trainer)
    print("saved", flush=True)
    sys.stdin.read()
Trainer.save = save_and_wait
main()
"""
"""The command, which stands still once it has saved what it learned."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two volumes of thin slices and two of thick ones."""
    for n in range(2):
        write_volume(tmp_path / f"data/train/CT_HeadNeck/CT_HeadNeck_{n}.npz")
        write_volume(tmp_path / f"data/train/MR_Heart_ACDC/MR_Heart_ACDC_{n}.npz", HEART, (1.0, 1.0, 9.0))
    return tmp_path / "data"


def test_sets_are_left_out_or_trained_on_alone() -> None:
    rules = {name: rule() for name in ("CT_A", "CT_B", "MR_C")}
    assert list(chosen(rules, Namespace(only=None, leave_out=["CT_B"]))) == ["CT_A", "MR_C"]
    assert list(chosen(rules, Namespace(only=["MR_C"], leave_out=[]))) == ["MR_C"]
    with pytest.raises(ValueError, match=r"no set called \['MR_D'\] is trained on; there are \['CT_A'"):
        chosen(rules, Namespace(only=None, leave_out=["MR_D"]))


def started(root: Path, data: Path, work: Path, *program: str) -> subprocess.Popen[str]:
    """The command, or ``program`` in its place, in two processes; the weights go to ``work/weights``."""
    line = [sys.executable, *(program or ("-m", "vesal.training")), "--data", data]
    line += ["--store", data.parent / "store", "--work", work]
    line += ["--out", work / "weights", "--steps", STEPS, "--widths", *THIN, "--processes", 2]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(list(map(str, line)), cwd=root, **pipes, text=True, start_new_session=True)


def written(run: subprocess.Popen[str], work: Path) -> dict[str, bytes]:
    """The files of a run that ends well, but for the manifest, which has the folder's name."""
    _, said = run.communicate(timeout=4 * SAFETY_S)
    assert run.returncode == 0, said
    return {f.name: f.read_bytes() for f in (work / "weights").glob("*") if f.name != "manifest.json"}


def halt_after_checkpoint(root: Path, data: Path, work: Path) -> None:
    """Kill all processes of a run once it has saved what it learned."""
    run = started(root, data, work, "-c", HALTING)
    give_up = threading.Timer(4 * SAFETY_S, os.killpg, (run.pid, signal.SIGKILL))
    give_up.start()
    assert run.stdout.readline() == "saved\n", run.communicate()[1]
    give_up.cancel()
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    assert (work / CHECKPOINT).exists()


@pytest.mark.skipif(processor_precision() != torch.float32, reason="the same bits were seen in fp32 only")
def test_the_same_steps_give_the_same_files_killed_in_between_or_not(
    root: Path, data: Path, tmp_path: Path
) -> None:
    run_two(root, tmp_path, "group.leave()")  # skips where two processes do not find each other
    whole, halted = tmp_path / "whole", tmp_path / "halted"
    files = written(started(root, data, whole), whole)
    assert files.keys() >= {"weights.bin", "degree0.onnx", "degree1.onnx", "degree2.onnx", "bank.npz"}
    halt_after_checkpoint(root, data, halted)
    assert not (halted / "weights").exists()
    assert written(started(root, data, halted), halted) == files
    assert (whole / "curves.png").stat().st_size > 1000


def test_sets_without_weight_are_not_trained_on_wherever_their_files_lie(data: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        write_volume(data / split / "CT_IRCAD" / f"CT_IRCAD_{split}.npz")
    write_volume(data / "val/CT_HeadNeck/CT_HeadNeck_2.npz")
    args = Namespace(data=data, store=None, work=tmp_path, without=[], looks=3)
    sets = {
        split: [v.dataset for shelf in shelves for v in read(shelf, read_rules())]
        for split, shelves in shelves_of(args).items()
    }
    assert sets["train"] == ["CT_HeadNeck"] * 2 + ["MR_Heart_ACDC"] * 2 and sets["val"] == ["CT_HeadNeck"]


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (["--hours", "1", "--steps", "3"], "argument --steps: not allowed with argument --hours"),
        (["--steps", "0"], "takes hours or steps, one of them; got 0 hours and 0 steps"),
        (["--hours", "0.001"], "--hours 0.001 is 4 s. Preparing took"),
        (["--steps", "3", "--loaders", "2"], "wanted 1 or more, and --loaders on a GPU alone"),
    ],
)
def test_a_length_that_cannot_be_is_refused(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    length: list[str],
    message: str,
) -> None:
    work = tmp_path / "work"
    monkeypatch.setattr(
        sys, "argv", ["training", "--data", str(data), "--out", str(work), "--work", str(work), *length]
    )
    with pytest.raises(SystemExit):
        main()
    assert message in capsys.readouterr().err
    assert not (work / "manifest.json").exists()
