"""Rows of Bio2Vol's tables, and the whole command on made volumes."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs torch")

from tests.training.bio2vol.test_slices import BANK, volume  # noqa: E402
from vesal.networks.small_slice import SmallSlice  # noqa: E402
from vesal.training.bio2vol.__main__ import main  # noqa: E402
from vesal.training.bio2vol.draws import by_set, draw  # noqa: E402
from vesal.training.bio2vol.learn import learn, loss_of  # noqa: E402
from vesal.training.bio2vol.rows import ROWS, Row  # noqa: E402
from vesal.training.bio2vol.score import Scores, score  # noqa: E402
from vesal.training.bio2vol.slices import Sampled, sample  # noqa: E402
from vesal.training.bio2vol.tables import TABLE_3, TABLE_4, gain, name, over_seeds, tables  # noqa: E402


def scored(percent: float) -> Scores:
    """Two volumes of one target and one of another, with this mean over targets."""
    share = percent / 100
    return {m: {"A liver": [share - 0.2, share], "B spleen": [share + 0.1]} for m in ("dice", "nsd")}


def test_rows_are_the_papers() -> None:
    assert ROWS.keys() == TABLE_3.keys() | TABLE_4.keys() | {"heads4"}
    assert [ROWS[row].heads for row in TABLE_4] == [0, 1, 2, 4]
    assert name("csdha-drs-sat") == "CSDHA + DRS + SAT"
    assert ROWS["csdha-drs-sat"] == Row(1, True, True)
    assert ROWS["k4"].cross.offsets == (2, -2, 2, -2)
    assert ROWS["base"].rate.rates == (1,) and ROWS["drs"].rate.rates == (1, 2)


def test_cells_by_hand() -> None:
    """Targets count once each: (-10 + 10) / 2 = 0 around the mean."""
    measured = {"base": [scored(50), scored(54)], "csdha": [scored(51), scored(57)], "k0": []}
    assert over_seeds(measured, "base", "dice") == "52.00 ± 2.83"
    assert over_seeds(measured, "base", "dice", "A liver") == "42.00 ± 2.83"
    assert gain(measured, "csdha", "base") == "2.00 ± 1.41"
    assert over_seeds(measured, "k0", "dice") == "" and gain(measured, "k0", "base") == ""


def test_tables_hold_the_papers_numbers_beside_ours() -> None:
    text = tables({row: [scored(50 + i)] for i, row in enumerate(ROWS)}, {"start": [scored(40)]})
    assert "| base | 80.73 | 80.54 | 50.00 | 50.00 | 0.00 |" in text
    assert "| CSDHA | 85.01 | 82.84 | 51.00 | 51.00 | 1.00 |" in text
    assert "| 2 | 85.30 | 55.00 | 55.00 | 1.00 |" in text
    assert "| start | 40.00 | 40.00 |" in text


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def sampled() -> Sampled:
    """One volume of two boxes."""
    return sample(volume(7), BANK)


def test_pathways_share_the_loss_and_the_alignment_comes_on_top(sampled: Sampled) -> None:
    torch.manual_seed(0)
    model, batch = SmallSlice().eval(), draw(by_set([sampled]), 7, (0,))
    with torch.no_grad():
        rows = (Row(), Row(0, True), Row(0, True, True))
        dense, both, aligned = (float(loss_of(model, batch, row)[0]) for row in rows)
        sparse = float(loss_of(model, batch.every(2), Row())[0])
    assert both == pytest.approx((dense + sparse) / 2, rel=1e-5)
    assert abs(aligned - both) <= 2 and aligned != both


def test_a_row_learns_and_its_curves_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vesal.training.bio2vol.draws.BATCH", 1)
    torch.manual_seed(0)
    row, sampled = ROWS["k2"], sample(volume(3), BANK)
    model = SmallSlice(row.cross)
    learn(model, by_set([sampled]), row, 20, 1e-3, 0, tmp_path)
    curves = (tmp_path / "log.csv").read_text().splitlines()
    assert curves[0] == "step,seconds,rate,key,value" and len(curves) == 3
    found = score(model, [sampled], row.rate)
    assert np.mean(found["dice"]["MR_Heart_ACDC liver"]) > 0.3


def write(folder: Path, number: int) -> None:
    """A labelled heart of a few slices."""
    made = volume(5)
    asked = {"1": "Left ventricle in cardiac MRI", "2": "Right ventricle in cardiac MRI", "instance_label": 0}
    path = folder / made.dataset / f"case{number}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path, imgs=made.image, gts=made.labels, spacing=np.array([2.5, 2.5, 5]), text_prompts=np.array(asked)
    )


def test_the_command_gives_the_same_tables_again_and_runs_nothing_twice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, part in enumerate(("train", "train", "val")):
        write(tmp_path / "data" / part, number)
    line = ["--data", str(tmp_path / "data"), "--start-steps", "2", "--steps", "1"]
    line += ["--rows", "base", "csdha-drs-sat"]

    def tables_of(work: str) -> str:
        out = tmp_path / f"{work}.json"
        main([*line, "--work", str(tmp_path / work), "--json", str(out)])
        assert json.loads(out.read_text())["tuned"]["base"][0]["dice"]["mean"] >= 0
        return capsys.readouterr().out

    first = tables_of("a")
    assert "| CSDHA + DRS + SAT | 85.45 | 83.52 |" in first
    assert tables_of("b") == first
    line += ["--start", str(tmp_path / "a" / "start"), "--hidden", "0.5"]
    hidden = tables_of("c")
    assert "| DSC of the black slices | mean |" in hidden and "| DSC of the black slices |" not in first
    assert json.loads((tmp_path / "c.json").read_text())["tuned"]["base"][0]["hidden"]["mean"] >= 0
    line = line[:-4]
    monkeypatch.setattr("vesal.training.bio2vol.__main__.learn", None)
    monkeypatch.setattr("vesal.training.bio2vol.__main__.score", None)
    assert tables_of("a") == first
