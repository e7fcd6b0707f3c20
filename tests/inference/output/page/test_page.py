"""The page as text: what is on it, what is not, and that nothing from outside gets into its code."""

import logging
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.inference.output.page.made import (
    made_case,
    made_labels,
    made_prompt,
    made_report,
    made_run,
    unfinished,
    written_page,
)
from vesal.inference.data.results import SKIPPED, Candidate
from vesal.inference.output.page import pictures, report_page
from vesal.inference.output.page.document import page_of
from vesal.inference.output.page.markup import area, number, volume
from vesal.inference.output.page.montage import length_text, round_length
from vesal.inference.output.page.report_page import ReportPage

ROOT = Path(__file__).parents[4]
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(HTMLParser):
    """Tags, attributes and text; a tag that is not closed, or by another, is an error."""

    def __init__(self, page: str) -> None:
        """Read a page."""
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(page)
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One tag opens."""
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """One tag of SVG opens and closes."""
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        """The last one closes."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text; style and script are none."""
        if self._open and self._open[-1] not in ("style", "script"):
            self.text += data


def test_all_that_a_case_has_to_tell_is_there(tmp_path: Path) -> None:
    """Sentence, reading, volume, probability, spacing, seconds and budget, letters and scale."""
    text = Reader(written_page(tmp_path / "report.html", made_report())).text
    for wanted in (
        "Liver in CT",
        "read as liver",
        "2.02\xa0ml",
        "0.90",
        "3 × 3 × 3",
        "it fits",
        "1.5 s of 57 s",
    ):
        assert wanted in text, wanted
    for wanted in ("axial, slice", "coronal, slice", "sagittal, slice", "1 cm", "area per slice"):
        assert wanted in text, wanted
    assert {
        letter for letter in "RLAPSI" if f">{letter}</text>" in (tmp_path / "report.html").read_text()
    } == set("RLAPSI")


def test_without_a_known_side_there_are_no_letters(tmp_path: Path) -> None:
    """The page says so."""
    page = written_page(tmp_path / "report.html", made_report(), codes=None)
    assert 'class="side"' not in page and "does not say which side is which" in page


def test_warnings_come_first(tmp_path: Path) -> None:
    """Of a case before its tables; of a folder at the top, those that fell back first."""
    text = Reader(written_page(tmp_path / "report.html", made_report(), unfinished())).text
    assert text.index("Warnings in 1 of 2 cases") < text.index("Volume (ml)")
    part = text[text.rindex("Warnings") :]
    for wanted in ("MemoryError: no room", "coarse only", "overlap 0 (0.1 s were left)", "3 is empty"):
        assert wanted in part, wanted
    assert part.index("MemoryError") < part.index("What was asked for")


def test_notes_are_told_once_for_a_folder(tmp_path: Path) -> None:
    """With the number of cases that have them; they are no warnings."""
    cases = [made_report(name, notes=("spacing was 0, 1 mm is taken",)) for name in "abc"]
    text = Reader(written_page(tmp_path / "report.html", *cases)).text
    assert "spacing was 0, 1 mm is taken (3 of 3 cases)" in text and "Warnings in" not in text


def test_text_from_outside_stays_text(tmp_path: Path) -> None:
    """A sentence, a file name, a note and a reason that look like HTML, or end an attribute."""
    bad = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
    case = made_report(
        bad,
        notes=(bad,),
        error=bad,
        modality=bad,
        prompts=(made_prompt(1, bad, bad), made_prompt(2, bad, None)),
    )
    page = Reader(written_page(tmp_path / "report.html", case, made_report("b")))
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert all(not name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert all((a["src"] or "").startswith("data:image/png") for tag, a in page.tags if tag == "img")
    assert page.text.count("<script>alert(1)</script>") >= 5


def test_control_characters_and_halves_of_characters_are_written_as_escapes(tmp_path: Path) -> None:
    """Nothing turns the direction of writing, and the file is UTF-8."""
    case = made_report("a\udc80\u202eb\x00", prompts=(made_prompt(1, "liver\ud800\x1b", "liver"),))
    page = written_page(tmp_path / "report.html", case)
    assert "a\\udc80\\u202eb\\x00" in page and "liver\\ud800\\x1b" in page


def test_nothing_is_fetched(tmp_path: Path) -> None:
    """Every picture is in the page, every link leads into it or to the file beside it."""
    (tmp_path / "report.json").write_text("{}")
    page = Reader(written_page(tmp_path / "report.html", made_report(), made_report("b")))
    for tag, attributes in page.tags:
        for name in ("src", "href"):
            if name in attributes:
                assert re.match(r"#case-|data:image/png;base64,|report\.json$", attributes[name]), (tag, name)
    assert not re.search(r"url\(|@import|https?://", (tmp_path / "report.html").read_text())
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    used = {a["href"][1:] for tag, a in page.tags if tag in ("use", "a") and a["href"].startswith("#")}
    assert len(ids) == len(set(ids)) and used <= set(ids)


def test_every_picture_says_in_words_what_it_shows(tmp_path: Path) -> None:
    """For those who hear the page."""
    page = Reader(written_page(tmp_path / "report.html", made_report(), made_report("b")))
    for tag, attributes in page.tags:
        if tag == "img":
            assert attributes["alt"]
        if tag == "svg":
            assert attributes.get("aria-hidden") == "true" or attributes["aria-label"]
    assert 'aria-label="axial, slice' in (tmp_path / "report.html").read_text()


def test_a_folder_is_a_table_with_volumes_and_outliers(tmp_path: Path) -> None:
    """The rule is told beside."""
    volumes = [100.0, 104.0, 96.0, 102.0, 98.0, 900.0]
    cases = [made_report(f"c{i}", prompts=(made_prompt(1, "x", "liver", v),)) for i, v in enumerate(volumes)]
    page = written_page(tmp_path / "report.html", *cases)
    text = Reader(page).text
    assert "robust z is above 3.5" in text
    assert page.count('class="outlier"') == 1
    assert re.search(r"outlier c5: 900 ml", text)
    assert "6 volumes from 96 to 900 ml" in page.replace("96.0", "96")


def test_sizes_are_small(tmp_path: Path) -> None:
    """A case has at most 150 kB; of five hundred each has about half of that, here with no slice shared."""
    rng = np.random.default_rng(3)
    labels = np.zeros((40, 96, 96), np.uint8)
    for id_, (d, h) in enumerate(((d, h) for d in range(2, 38, 12) for h in range(2, 92, 18)), 1):
        labels[d : d + 9, h : h + 14, 5 * id_ : 5 * id_ + 12] = id_
    noise = rng.integers(0, 256, labels.shape).astype(np.uint8)
    many = tuple(made_prompt(i, f"sentence {i} of the case", f"target {i}") for i in range(1, 16))
    for cases, most in ((1, 150_000), (500, 80_000)):
        page = ReportPage(cases)
        report = made_report(prompts=many)
        case = replace(made_case(), image=noise)
        page.add(case, labels, report)
        page.write(tmp_path / "report.html", made_run(report))
        assert (tmp_path / "report.html").stat().st_size < most


def test_an_error_in_the_pictures_costs_only_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is in the log with its traceback, and on the page."""

    def broken(*_: object) -> None:
        raise ValueError("no <b>picture</b>")

    monkeypatch.setattr(report_page, "pictures_of", broken)
    with caplog.at_level(logging.ERROR, "vesal"):
        text = Reader(written_page(tmp_path / "report.html", made_report())).text
    assert "no pictures for the report" in caplog.text and "Traceback" in caplog.text
    assert "could not be made: ValueError: no <b>picture</b>" in text and "Liver in CT" in text


def test_labels_of_another_shape_are_told(tmp_path: Path) -> None:
    """They raise nothing."""
    page = ReportPage()
    page.add(made_case(), made_labels()[1:], made_report())
    page.write(tmp_path / "report.html", made_run(made_report()))
    assert "could not be made" in (tmp_path / "report.html").read_text()


def test_a_case_without_result_is_on_the_page(tmp_path: Path) -> None:
    """One that was not read, and one that the run never came to."""
    page = ReportPage(2)
    failed = made_report(
        "a", state="fell back", error="CaseError: torn", shape=None, spacing_dhw_mm=None, prompts=()
    )
    page.add(None, None, failed)
    page.write(tmp_path / "report.html", made_run(failed, made_report("b", state="not run")))
    text = Reader((tmp_path / "report.html").read_text()).text
    assert "no picture, as the case has no result" in text and "not run" in text


def test_a_page_that_cannot_be_written_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder is in its place."""
    (tmp_path / "report.html").mkdir()
    with caplog.at_level(logging.ERROR, "vesal"):
        assert ReportPage().write(tmp_path / "report.html", made_run(made_report())) is None
    assert "no report page" in caplog.text


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    """Nothing of the time or of the process is on the page."""
    first = written_page(tmp_path / "a.html", made_report(), unfinished())
    assert first == written_page(tmp_path / "b.html", made_report(), unfinished())


def test_nothing_of_the_arrays_is_kept() -> None:
    """A folder's volumes would not fit into memory; areas per slice are copies."""
    kept = pictures.pictures_of(made_case(), made_labels(), [1, 2], 50_000)
    assert all(
        areas.base is None or areas.base.size < made_labels().size / 10 for areas in kept.areas.values()
    )


@pytest.mark.parametrize(
    ("mm", "words"), [(0.0034, "2 µm"), (0.7, "500 µm"), (4.0, "2 mm"), (31.0, "2 cm"), (99.0, "5 cm")]
)
def test_scale_bars_have_round_lengths(mm: float, words: str) -> None:
    """At most as long as they may be."""
    assert length_text(round_length(mm)) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        (0, "0"),
        (1234.5, "1,234"),
        (99.96, "100"),
        (5.0, "5"),
        (0.012345, "0.0123"),
        (1e-7, "0.0000001"),
    ],
)
def test_numbers_are_for_reading(value: float | None, words: str) -> None:
    """No exponent, no digits that mean nothing."""
    assert number(value) == words


def test_small_areas_and_volumes_have_their_own_units() -> None:
    """Of microscopy."""
    assert [area(mm2) for mm2 in (250.0, 4.0, 0.000012)] == ["2.5 cm²", "4 mm²", "12 µm²"]
    units = [volume(ml) for ml in (1234.0, 0.02, 0.004, 5e-10, 0.0, None)]
    assert units == ["1,234&nbsp;ml", "0.02&nbsp;ml", "4&nbsp;mm³", "500&nbsp;µm³", "empty", "–"]


@pytest.mark.parametrize("shape", [(1, 64, 48), (300, 2, 2), (5, 1, 1)])
def test_flat_and_thin_volumes_are_drawn(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    """A single slice, or a column of voxels."""
    case = replace(made_case(), image=np.full(shape, 90, np.uint8), spacing_dhw_mm=(0.001, 0.0002, 0.0002))
    page = ReportPage()
    page.add(case, np.ones(shape, np.uint8), made_report())
    page.write(tmp_path / "report.html", made_run(made_report()))
    assert (tmp_path / "report.html").read_text().count("<figure") == 4


def test_a_run_without_the_page_does_not_load_it() -> None:
    """The container's own path pays nothing for it."""
    loaded = "import sys, vesal.inference.runner.run; print([m for m in sys.modules if 'output.page' in m])"
    told = subprocess.run(
        [sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == "[]"


def test_what_a_mark_may_be_is_told() -> None:
    candidates = (Candidate("liver", 0.72), Candidate("spleen", 0.1))
    marked = replace(made_prompt(1, "", "liver"), candidates=candidates)
    page = page_of(made_run(made_report(prompts=(marked,))), {}, {}, None)
    assert "agreement: liver 0.72, spleen 0.10" in page and "no sentence" in page


def test_a_case_that_was_skipped_is_good() -> None:
    page = page_of(made_run(made_report(state=SKIPPED)), {}, {}, None)
    assert "1 of 1 good" in page and "The case skipped" not in page
