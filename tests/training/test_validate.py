"""Scores of a run: the table, what the manifest then covers, and which cases are looked at."""

import json
from pathlib import Path

from training.validate import Row, find_cases, table, write_scores


def row(target: str, coarse: float, final: float) -> Row:
    return Row("CT_Set", target, target, None, "CT", coarse, final)


def test_the_table_holds_the_mean_of_each_target() -> None:
    lines = table([row("liver", 0.2, 0.4), row("liver", 0.4, 0.8), row("aorta", 0.0, 0.1)]).splitlines()
    assert lines[2:] == ["| CT_Set | aorta | 1 | 0.000 | 0.100 |", "| CT_Set | liver | 2 | 0.300 | 0.600 |"]


def test_only_what_scores_is_covered_and_may_come_back(tmp_path: Path) -> None:
    """Liver 0.6 stays, aorta 0.1 and the unseen spleen go; a later run with aorta 0.9 brings it back."""
    names = ("aorta", "liver", "spleen")
    targets = [{"concept": name, "side": None, "modality": "CT", "dsc": None} for name in names]
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({"name": "x", "targets": targets}))

    write_scores(tmp_path, [row("liver", 0.3, 0.6), row("aorta", 0.0, 0.1)], least=0.2)
    content = json.loads(path.read_text())
    assert [(t["concept"], t["dsc"]) for t in content["targets"]] == [("liver", 0.6)]
    assert [(t["concept"], t["dsc"]) for t in content["not_covered"]] == [("aorta", 0.1), ("spleen", None)]
    assert content["name"] == "x"

    write_scores(tmp_path, [row("liver", 0.3, 0.6), row("aorta", 0.8, 0.9)], least=0.2)
    content = json.loads(path.read_text())
    assert [t["concept"] for t in content["targets"]] == ["liver", "aorta"]


def test_real_cases_come_last_with_their_own_truth(tmp_path: Path) -> None:
    for name in ("val/B/b1.npz", "val/B/b2.npz", "val/A/a1.npz", "real/imgs/r.npz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_cases(tmp_path / "val", 1, tmp_path / "real")
    assert [path.name for path, _ in found] == ["a1.npz", "b1.npz", "r.npz"]
    assert [truth for _, truth in found] == [None, None, tmp_path / "real/gts/r.npz"]
