"""A real browser on a page, and what can be said of its canvas."""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, sync_playwright

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
"""WebGL without a GPU."""
SAFETY_MS = 240_000
"""Turns a test that would wait for ever into one that fails; drawn by software on a busy machine."""
REQUIRED = "VESAL_BROWSER_REQUIRED"
"""Set where a missing browser is a failure."""
NEXT_FRAME = "new Promise(go => requestAnimationFrame(() => requestAnimationFrame(go)))"
MIN_CHROMA, MIN_COSINE = 15, 0.97


def missing(what: str) -> None:
    """Skip the test, or fail it where a browser has to be there."""
    if os.environ.get(REQUIRED):
        pytest.fail(what)
    pytest.skip(what)


def browser_path() -> str:
    """Debian's chromium."""
    found = shutil.which("chromium")
    if found is None:
        missing("no chromium: `apt-get install chromium` has it")
    return str(found)


@dataclass
class Tab:
    """One tab of a browser."""

    page: Page
    problems: list[str] = field(default_factory=list)
    """Errors of scripts, what the policy refused, and failed requests."""
    urls: list[str] = field(default_factory=list)
    """All that was requested."""

    def open(self, url: str) -> None:
        """Open a page and wait until it has drawn its case."""
        self.page.set_default_timeout(SAFETY_MS)
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda said: said.type == "error" and self.problems.append(said.text))
        self.page.on("request", lambda request: self.urls.append(request.url))
        self.page.goto(url)
        self.page.wait_for_selector("body[data-state=ready], body[data-state=failed]")
        assert self.page.get_attribute("body", "data-state") == "ready", self.page.inner_text("#said")

    def canvas(self) -> np.ndarray:
        """What is drawn, (rows, columns, 3) float."""
        self.page.evaluate(NEXT_FRAME)
        picture = Image.open(io.BytesIO(self.page.locator("#canvas").screenshot()))
        return np.asarray(picture.convert("RGB")).astype(float)

    def axial(self) -> tuple[int, int, int, int]:
        """Left, top, width and height of the only slice on the canvas, an axial one, in pixels.

        Its tile may be larger. Page millimetres have their origin in the middle of the volume, and grow
        towards the patient's right, which is on the left, and front, which is above.
        """
        self.page.evaluate(NEXT_FRAME)
        tile, mm, field = self.page.evaluate(
            "(slice => [slice.leftTopWidthHeight, slice.leftTopMM, slice.fovMM].map(v => Array.from(v)))"
            "(viewer.nv.screenSlices[0])"
        )
        state = self.page.evaluate("viewer.state()")
        rows_mm, columns_mm = (state["shape"][axis] * state["spacing"][axis] for axis in (1, 2))
        left = (columns_mm / 2 - mm[0]) / field[0]
        top = 1 - (rows_mm / 2 - mm[1]) / field[1]
        width, height = columns_mm / abs(field[0]), rows_mm / abs(field[1])
        return (
            round(tile[0] + left * tile[2]),
            round(tile[1] + top * tile[3]),
            round(width * tile[2]),
            round(height * tile[3]),
        )

    def labels(self) -> dict[str, dict[str, Any]]:
        """The labels of the page by name."""
        state = self.page.evaluate("viewer.state()")
        return {label["name"]: label for label in state["labels"]}

    def drawn(self, name: str) -> np.ndarray:
        """Where the canvas has the colour of a label, over whatever grey: (rows, columns) bool."""
        code = self.labels()[name]["colour"]
        colour = np.array([int(code[at : at + 2], 16) for at in (1, 3, 5)], float)
        wanted, found = colour - colour.mean(), self.canvas()
        found -= found.mean(2, keepdims=True)
        size = np.linalg.norm(found, axis=2)
        cosine = found @ wanted / (np.maximum(size, 1e-6) * np.linalg.norm(wanted))
        return (size > MIN_CHROMA) & (cosine > MIN_COSINE)

    def at(self, row: float, column: float) -> tuple[float, float]:
        """Place on the screen of a place in the only slice, both 0..1 from its upper left corner."""
        left, top, width, height = self.axial()
        frame = self.page.locator("#canvas").bounding_box()
        assert frame is not None
        return frame["x"] + left + column * width, frame["y"] + top + row * height


def open_browser() -> Any:
    """A headless browser, for a `with`: its value has `new_page`."""
    path = browser_path()
    playwright = sync_playwright().start()
    browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
    return playwright, browser


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Dice of two masks (rows, columns)."""
    return float(2 * (one & other).sum() / max(1, one.sum() + other.sum()))


def enlarged(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """A mask (rows, columns) at another size, each pixel from the nearest."""
    rows = (np.arange(height) + 0.5) * mask.shape[0] / height
    columns = (np.arange(width) + 0.5) * mask.shape[1] / width
    return mask[np.ix_(rows.astype(int), columns.astype(int))]
