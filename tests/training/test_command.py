"""``python -m training`` as a whole, on two made sets and with a thin network."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import THIN, write_volume  # noqa: E402
from training.__main__ import main  # noqa: E402
from training.export import CHECKPOINT  # noqa: E402

HEART = {"1": "Left ventricle in cardiac MR", "3": "Right ventricle in cardiac MR", "instance_label": 0}
STEPS = 3


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two volumes of thin slices and two of thick ones."""
    for n in range(2):
        write_volume(tmp_path / f"data/train/CT_HeadNeck/CT_HeadNeck_{n}.npz")
        write_volume(tmp_path / f"data/train/MR_Heart_ACDC/MR_Heart_ACDC_{n}.npz", HEART, (1.0, 1.0, 9.0))
    return tmp_path / "data"


def command(root: Path, data: Path, work: Path) -> subprocess.CompletedProcess[str]:
    """Two processes, ``STEPS`` steps; the weights go to ``work/weights``."""
    line = [
        sys.executable,
        "-m",
        "training",
        "--data",
        data,
        "--store",
        data.parent / "store",
        "--work",
        work,
    ]
    line += ["--out", work / "weights", "--steps", STEPS, "--widths", *THIN, "--processes", 2]
    done = subprocess.run(list(map(str, line)), cwd=root, capture_output=True, text=True, check=False)
    if done.returncode and "gloo" in done.stderr and not (work / CHECKPOINT).exists():
        pytest.skip(f"gloo does not reach its neighbour on this machine: {done.stderr[-300:]}")
    return done


def test_the_same_steps_give_the_same_files_again(root: Path, data: Path, tmp_path: Path) -> None:
    """And fewer of them than the log waits for between two lines leave one."""
    found = []
    for name in ("one", "again"):
        done = command(root, data, tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name / "log.csv").read_text().splitlines()[-1].startswith(f"{STEPS},")
        assert (tmp_path / name / "curves.png").stat().st_size > 1000
        files = (tmp_path / name / "weights").glob("*")
        found.append({f.name: f.read_bytes() for f in files if f.name != "manifest.json"})
    assert found[0].keys() >= {"weights.bin", "degree0.onnx", "degree1.onnx", "degree2.onnx", "bank.npz"}
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("length", "message"),
    [
        (["--hours", "1", "--steps", "3"], "argument --steps: not allowed with argument --hours"),
        (["--steps", "0"], "takes hours or steps, one of them; got 0 hours and 0 steps"),
        (["--hours", "0.001"], "--hours 0.001 is 4 s. Preparing took"),
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
