"""The page in a real browser: light, narrow, and printed."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.inference.output.page.made import made_prompt, made_report, unfinished, written_page
from vesal.inference.data.colours import colour_of

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
FLAGS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
BAD = "<script>document.title = 'taken'</script>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Debian's Chromium without a window."""
    with sync_api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """The page of three cases, opened; that it asks for anything or complains fails the test."""
    cases = (
        made_report("b", seconds=9.0, prompts=(made_prompt(1, BAD, "liver"),)),
        made_report("a", seconds=11.0),
        unfinished(),
    )
    written_page(tmp_path / "report.html", *cases)
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
    opened.goto((tmp_path / "report.html").as_uri())
    yield opened
    opened.close()
    assert said == []


def pixels_of(picture: bytes) -> np.ndarray:
    """(rows, columns, 3) of a screenshot."""
    with Image.open(io.BytesIO(picture)) as opened:
        return np.asarray(opened.convert("RGB")).astype(int)


def near(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """Where a screenshot has about a colour."""
    return np.abs(pixels - np.array(colour)).max(2) < 60


def test_the_contour_is_drawn_over_the_target(page: Any) -> None:
    """The axial picture is bright inside the contour, which is towards the patient's right and front."""
    figure = page.locator("#case-2 .target figure svg").first
    pixels = pixels_of(figure.screenshot())
    line = near(pixels, colour_of(1))
    rows, columns = np.flatnonzero(line.any(1)), np.flatnonzero(line.any(0))
    height, width = line.shape
    assert rows[-1] < height / 2 and columns[-1] < width / 2
    inside = pixels[rows[0] + 8 : rows[-1] - 8, columns[0] + 8 : columns[-1] - 8]
    assert np.median(inside) > 150
    assert np.median(pixels[height // 2 :, : width // 3]) < 80


def test_a_sentence_is_text_and_no_script(page: Any) -> None:
    """It stands in the table as it was written, and nothing ran."""
    assert page.title() == "Segmentation of 3 cases"
    assert page.locator("#case-1 td bdi").first.text_content() == BAD


def test_a_head_sorts_by_click_and_by_key(page: Any) -> None:
    """Numbers as numbers, again the other way round; told to those who hear the page."""

    def names() -> list[str]:
        return page.locator("table.cases tbody td:nth-child(2)").all_inner_texts()

    assert names() == ["b", "a", "late"]
    head = page.locator("table.cases th", has_text="Seconds")
    head.locator("[role=button]").click()
    assert names() == ["late", "b", "a"] and head.get_attribute("aria-sort") == "ascending"
    head.locator("[role=button]").press("Enter")
    assert names() == ["a", "b", "late"] and head.get_attribute("aria-sort") == "descending"
    page.locator("table.cases th", has_text="Case").locator("[role=button]").click()
    assert names() == ["a", "b", "late"]


def test_nothing_is_cut_on_a_narrow_screen(page: Any) -> None:
    """The page does not scroll sideways; wide tables do, by themselves."""
    page.set_viewport_size({"width": 380, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 380


def test_text_has_enough_contrast(page: Any) -> None:
    """4.5 to 1 on its ground for all text outside of pictures (WCAG 2.2, 1.4.3)."""
    pairs = page.evaluate(
        """() => [...document.querySelectorAll("body *:not(svg *)")].filter(e => e.textContent).map(e => {
            let ground = e;
            while (ground && getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)")
                ground = ground.parentElement;
            return [getComputedStyle(e).color, getComputedStyle(ground || document.body).backgroundColor];
        })"""
    )
    assert len(pairs) > 100
    for text, ground in {tuple(pair) for pair in pairs}:
        light, dark = sorted((luminance(text), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(...)`, as WCAG defines it."""
    values = np.array([float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_print_shows_what_is_folded_on_white(page: Any) -> None:
    """Decisions are there without a script, each case of a folder begins a page, and the ground is white."""
    page.emulate_media(media="print")
    details = page.locator("#case-2 details")
    assert not details.evaluate("part => part.open")
    assert details.locator("table").first.bounding_box()["height"] > 20
    assert page.locator("#case-2").evaluate("part => getComputedStyle(part).breakBefore") == "page"
    pixels = pixels_of(page.screenshot())
    assert (pixels.min(2) == 255).mean() > 0.5


def test_the_printed_page_has_its_pictures(page: Any) -> None:
    """A page for the folder and at least one for each case."""
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF") and printed.count(b"/Type /Page\n") >= 4
    assert printed.count(b"/Subtype /Image") >= 9


def test_reading_needs_no_script(browser: Any, tmp_path: Path) -> None:
    """Without JavaScript all is there but sorting."""
    written_page(tmp_path / "report.html", made_report("b"), made_report("a"))
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    assert page.locator("table.cases tbody tr").count() == 2
    assert page.locator(".sort-hint").is_hidden()
    page.locator("#case-1 summary").click()
    assert page.locator("#case-1 details table").first.is_visible()
    context.close()
