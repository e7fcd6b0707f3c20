"""The mean of the weights of several runs."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="checkpoints are read with torch")

from vesal.training import average  # noqa: E402
from vesal.training.average import CHECKPOINT, mean_of_runs  # noqa: E402


def write_run(folder: Path, values: list[float]) -> Path:
    folder.mkdir()
    state = {"average": {"a.weight": torch.tensor(values)}, "step": len(values), "model": {}}
    torch.save(state, folder / CHECKPOINT)
    return folder


def test_the_mean_is_taken_of_the_averaged_weights(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / str(n), [float(n), 2.0]) for n in (1, 2, 6)]
    found = mean_of_runs(runs)["a.weight"]
    assert found.tolist() == [3.0, 2.0] and found.dtype == torch.float32


def test_a_run_counts_as_much_as_its_share(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / str(n), [float(n)]) for n in (1, 5)]
    assert mean_of_runs(runs, [3.0, 1.0])["a.weight"].tolist() == [2.0]
    with pytest.raises(ValueError, match="1 shares for 2 runs"):
        mean_of_runs(runs, [3.0])


def test_exported_weights_are_read_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, exported = write_run(tmp_path / "run", [2.0]), tmp_path / "exported"
    exported.mkdir()
    monkeypatch.setattr(average, "read_weights", lambda folder: {"a.weight": torch.tensor([4.0])})
    assert mean_of_runs([run, exported])["a.weight"].tolist() == [3.0]


def test_runs_of_different_networks_are_refused(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", [1.0]), write_run(tmp_path / "b", [1.0, 2.0])]
    with pytest.raises(ValueError, match="different networks"):
        mean_of_runs(runs)
