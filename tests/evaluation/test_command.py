"""The command from folders to tables, JSON and pictures; and the comparison of two runs."""

import csv
import json

import numpy as np
import pytest

from vesal.evaluation.__main__ import main
from vesal.evaluation.compare import compare, worst_losses
from vesal.evaluation.compare import main as compare_main
from vesal.evaluation.errors import EvaluationError
from vesal.evaluation.report import as_text, read_results
from vesal.evaluation.tables import OFFICIAL_COLUMNS

TWO = {1: "CT imaging of the liver", 2: "CT imaging of the spleen"}


@pytest.fixture
def run(folders, tmp_path):
    """Run the command over the folders; return its exit code and the folder of results."""

    def call(*options, name="results"):
        paths = [str(folders[key]) for key in ("images", "predictions", "groundtruth")]
        out = tmp_path / name
        return main([*paths, "-o", str(out), *options]), out

    return call


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_json_and_pictures_are_written(run, put, cube, capsys):
    put("CT_a", cube(1) + cube(2, at=(4, 4, 4)), cube(1), prompts=TWO)
    put("CT_b", cube(1), cube(1), prompts=TWO)
    put("CT_c", cube(7), cube(3), instance=1)
    code, out = run()
    assert code == 0
    cases = rows(out / "cases.csv")
    assert tuple(cases[0])[:6] == OFFICIAL_COLUMNS
    assert [c["CaseName"] for c in cases] == ["CT_a.npz", "CT_b.npz", "CT_c.npz"]
    assert [c["DSC"] for c in cases] == ["0.500000", "1.000000", ""]
    assert [c["F1"] for c in cases] == ["", "", "1.000000"]
    targets = {(t["Target"], t["Score"]): t for t in rows(out / "targets.csv")}
    assert targets["liver", "DSC"]["Mean"] == "1.0000" and targets["liver", "DSC"]["Cases"] == "2"
    assert targets["spleen", "DSC"]["Mean"] == "0.0000" and targets["spleen", "DSC"]["Cases"] == "1"
    everything = {(m["Modality"], m["Score"]): m["Mean"] for m in rows(out / "modalities.csv")}
    assert everything["all", "DSC"] == everything["CT", "DSC"] == "0.7500"
    for picture in ("scores_per_target.png", "dsc_against_volume.png"):
        assert (out / picture).read_bytes().startswith(b"\x89PNG")
    assert "spleen" in capsys.readouterr().out


def test_a_bad_prediction_is_a_row_and_the_run_goes_on(run, put, cube, folders, capsys):
    put("CT_a", cube(), cube())
    (folders["predictions"] / "CT_a.npz").write_bytes(b"PK\x03\x04 cut short")
    put("CT_b", cube(), cube())
    code, out = run("--no-plots")
    assert code == 1
    first, second = rows(out / "cases.csv")
    assert first["DSC"] == "0.000000" and "CT_a.npz" in first["Reason"] and first["DSC_official"] == "none"
    assert second["DSC"] == "1.000000" and not second["Reason"]
    content = json.loads((out / "results.json").read_text())
    assert content["lost_by_official_script"] == ["CT_a", "CT_b"]
    assert "nothing for 2 of 2 cases, from CT_a on" in capsys.readouterr().out


def test_the_official_scores_can_come_first(run, put, cube):
    put("CT_a", cube(1), cube(1) + cube(2, at=(4, 4, 4)), prompts=TWO)
    (plain,), (official,) = (
        rows(run(*options, "--no-plots", name=name)[1] / "cases.csv")
        for name, options in (("p", ()), ("o", ("--as-official",)))
    )
    assert (plain["DSC"], plain["DSC_official"]) == ("0.500000", "1.000000")
    assert (official["DSC"], official["DSC_plain"]) == ("1.000000", "0.500000")


def test_running_times_are_taken_over(run, put, cube, tmp_path):
    put("CT_a", cube(), cube())
    timing = tmp_path / "timing.json"
    timing.write_text('{"cases": [{"case": "CT_a", "seconds": 2.5}]}')
    _, out = run("--times", str(timing), "--no-plots")
    assert rows(out / "cases.csv")[0]["RunningTime"] == "2.500000"
    timing.write_text("[]")
    assert run("--times", str(timing))[0] == 2


def test_wrong_folders_are_wrong_usage(tmp_path, capsys):
    assert main([str(tmp_path / "no"), str(tmp_path), str(tmp_path)]) == 2
    assert "no folder of images" in capsys.readouterr().err


def test_results_come_back_as_they_were_written(run, put, cube):
    put("CT_a", cube(1), cube(1), prompts=TWO)
    put("CT_b", cube(1), cube(1), instance=1)
    _, out = run("--no-plots")
    a, b = read_results(out / "results.json")
    assert a.plain.classes[1].truth_voxels == 8 and a.targets == {1: "liver", 2: "spleen"}
    assert np.isnan(a.plain.classes[2].dsc) and np.isnan(a.plain.f1)
    assert (b.plain.tp, b.plain.f1, b.instance) == (1, 1.0, True)
    (out / "broken.json").write_text('{"cases": [1]}')
    with pytest.raises(EvaluationError, match=r"no results\.json"):
        read_results(out / "broken.json")


@pytest.fixture
def two_runs(run, put, cube):
    """Six cases; in the second run one gets worse by one half, four get better, one stays."""
    half = cube(1)
    half[1] = 0
    scores = {"a": (cube(1), half), **dict.fromkeys("bcde", (half, cube(1))), "f": (half, half)}
    for which in (0, 1):
        for name, predictions in scores.items():
            put(f"CT_{name}", cube(1), predictions[which])
        run("--no-plots", name=f"run{which}")
    return [
        read_results(run("--no-plots", name="last")[1].parent / f"run{which}" / "results.json")
        for which in (0, 1)
    ]


def test_two_runs_are_compared_per_case(two_runs):
    dsc = next(c for c in compare(*two_runs) if c.score == "DSC")
    assert (dsc.cases, dsc.better, dsc.worse) == (6, 4, 1)
    assert dsc.mean_b - dsc.mean_a == pytest.approx(3 * (1 - 2 / 3) / 6)
    assert dsc.low < dsc.mean_b - dsc.mean_a < dsc.high
    assert 0.05 < dsc.p < 1


def test_losses_come_worst_first(two_runs):
    (loss,) = worst_losses(*two_runs)
    assert (loss.case, loss.target, loss.a) == ("CT_a", "liver", 1.0)
    assert loss.b == pytest.approx(2 / 3)
    assert [x.case for x in worst_losses(*two_runs[::-1])] == ["CT_b", "CT_c", "CT_d", "CT_e"]
    assert worst_losses(two_runs[0], two_runs[0]) == []


def test_the_comparison_command(two_runs, run, tmp_path, capsys):
    assert compare_main([str(tmp_path / "run0"), str(tmp_path / "run1" / "results.json")]) == 0
    out = capsys.readouterr().out
    assert "6 cases in both" in out and "Worst losses" in out and "CT_a" in out


def test_predictions_can_be_compared_unscored(put, cube, folders, capsys):
    put("CT_a", cube(1), cube(1))
    given = ["--images", str(folders["images"]), "--groundtruth", str(folders["groundtruth"])]
    both = [str(folders["predictions"])] * 2
    assert compare_main([*both, *given]) == 0
    assert "No target lost." in capsys.readouterr().out
    assert compare_main(both) == 2
    assert "score it first" in capsys.readouterr().err


def test_a_text_table_is_aligned():
    assert as_text([{"A": "x", "Long": "1"}, {"A": "yyyy", "Long": "2"}]) == "A     Long\nx     1\nyyyy  2"
    assert as_text([]) == ""
