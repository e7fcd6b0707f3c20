"""A model card's tables: filled from the manifest and results of the same weights, nothing else."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("scipy", reason="the tables of scores need scipy")

from vesal.training import card  # noqa: E402
from vesal.training.card import NOT_MEASURED, TABLES, CardError, Source, fill  # noqa: E402
from vesal.training.measure.results import fingerprint, write_json  # noqa: E402

ROW = {
    "dataset": "CT_Set",
    "target": "left kidney",
    "concept": "kidney",
    "side": "left",
    "modality": "CT",
    "coarse": 0.25,
    "final": 0.75,
    "f1": None,
    "covered": True,
    "case": "a",
}


def block(name: str, body: str = "old\n") -> str:
    return f"before\n<!-- table: {name} -->\n{body}<!-- end: {name} -->\nafter\n"


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Weights with one covered target and results of their validation."""
    manifest = {
        "files": {"weights.bin": {"sha256": "1" * 64}},
        "sources": {"CT_Set, CT_Other": "open"},
        "targets": [{"concept": "kidney", "side": "left", "modality": "CT", "dsc": 0.75}],
        "not_covered": [{"concept": "rib", "side": None, "modality": "CT", "dsc": None}],
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "weights.bin").write_bytes(b"0" * 1_500_000)
    made = Source(tmp_path, tmp_path / "measured")
    about = {"fingerprint": fingerprint(tmp_path), "runtime": "openvino bf16", "threads": 2}
    write_json(
        made.results / "validation.json",
        {**about, "cases": 1, "seconds": 0.5, "most": 0, "short": {}, "rows": [ROW]},
    )
    write_json(made.results / "swaps.json", {**about, "markdown": "what was printed"})
    sets = {"CT_Set": {"volumes": {"train": 3}, "targets": {"liver": 3}}}
    write_json(made.results / "data.json", {"sets": sets})
    return made


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("covered", "| CT | left kidney | 0.750 |"),
        ("not-covered", "| CT | rib |  |"),
        ("files", "| `weights.bin` | 1.50 MB |"),
        ("validation", "| CT_Set | left kidney | 1 | 0.250 | 0.750 |  |"),
        ("ran", "1 cases, 0.50 s a case (openvino bf16, 2 threads)."),
        ("data", "| CT_Set | liver | 3 / 0 | open |"),
        ("swaps", "what was printed"),
        ("stages", NOT_MEASURED),
    ],
)
def test_a_table_is_filled_and_the_text_around_it_kept(source: Source, name: str, line: str) -> None:
    after = fill(block(name), source)
    assert line in after.splitlines() and "old" not in after
    assert after.startswith("before\n<!-- table:") and after.endswith("-->\nafter\n")
    assert fill(after, source) == after


def test_every_table_can_be_drawn_and_only_those_asked_for_are(source: Source) -> None:
    text = "".join(block(name) for name in TABLES)
    assert "old" not in fill(text, source)
    assert fill(text, source, only=["covered"]).count("old") == len(TABLES) - 1


def test_results_of_other_weights_are_not_shown(source: Source, caplog: pytest.LogCaptureFixture) -> None:
    path = source.weights / "manifest.json"
    path.write_text(path.read_text().replace("1" * 64, "2" * 64))
    assert NOT_MEASURED in fill(block("validation"), source)
    assert "other weights" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (block("scores"), "a table 'scores'; there are"),
        (block("covered").replace("<!-- end: covered -->", ""), "wanted pairs"),
        (block("covered", block("files")), "wanted pairs"),
    ],
)
def test_broken_marks_are_refused(source: Source, text: str, message: str) -> None:
    with pytest.raises(CardError, match=message):
        fill(text, source)


def test_check_fails_where_a_figure_was_typed_by_hand(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = source.weights / "README.md"
    readme.write_text(block("covered"))
    command = ["card", "--weights", str(source.weights), "--results", str(source.results)]
    monkeypatch.setattr(sys, "argv", command)
    card.main()
    monkeypatch.setattr(sys, "argv", [*command, "--check"])
    with pytest.raises(SystemExit) as done:
        card.main()
    assert done.value.code == 0

    readme.write_text(readme.read_text().replace("0.750", "0.850"))
    with pytest.raises(SystemExit, match="out of step"):
        card.main()
    assert "0.850" in readme.read_text()


def test_the_shipped_card_is_in_step_with_its_results(root: Path) -> None:
    """When this fails: python -m vesal.training.card --weights weights/nano"""
    weights, results = root / "weights" / "nano", card.MEASURED / "nano"
    if not results.is_dir():
        pytest.skip("no results of the shipped weights yet: nothing to compare the card with")
    text = (weights / "README.md").read_text()
    assert fill(text, Source(weights, results)) == text
