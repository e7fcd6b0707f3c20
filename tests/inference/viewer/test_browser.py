"""`vesal view` in a real browser, on a real case: the canvas shows the labels where they are."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.inference.viewer import browser as browsers
from tests.inference.viewer.browser import Tab, enlarged, overlap
from tests.inference.viewer.made_page import Page, made_case
from vesal.inference.data.orientation import CANONICAL
from vesal.inference.families.contract import Capabilities
from vesal.inference.viewer.assets import read_assets

CASE = "CT_AMOS_amos_0018"
STEP = 4
"""Every so many voxels of a slice are taken: software is slow to draw all of them."""
SPLEEN, RIGHT_KIDNEY, LIVER = 1, 2, 6
SAFETY_S = 120


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    """One browser for all tests of this file."""
    playwright, opened = browsers.open_browser()
    yield opened
    opened.close()
    playwright.stop()


@pytest.fixture(scope="module")
def truth(shared: Path) -> np.ndarray:
    """Ground truth (D, H, W) of the real case, canonical: rows go backwards, columns to the patient's left.

    The npz has its rows from back to front, as the organs show.
    """
    with np.load(shared / "cases" / "gts" / f"{CASE}.npz") as archive:
        return archive["gts"][:, ::-STEP, ::STEP]


@pytest.fixture(scope="module")
def scan(shared: Path, truth: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The real case as NIfTI in Hounsfield units, with its names beside it, and two of its labels."""
    folder = tmp_path_factory.mktemp("scan")
    with np.load(shared / "cases" / "imgs" / f"{CASE}.npz") as archive:
        grey = archive["imgs"][:, ::-STEP, ::STEP]
        x, y, z = archive["spacing"]
    units = np.where(grey == 0, -1000, np.rint(grey / 255 * 400 - 160)).astype(np.int16)
    labels = np.where(np.isin(truth, (RIGHT_KIDNEY, LIVER)), truth, 0).astype(np.uint8)
    affine = np.diag([-x * STEP, -y * STEP, z, 1])
    for name, volume in (("scan", units), ("labels", labels)):
        nibabel.save(nibabel.Nifti1Image(volume.transpose(2, 1, 0), affine), folder / f"{name}.nii.gz")
    names = {str(LIVER): "liver in CT", str(RIGHT_KIDNEY): "right kidney in CT"}
    (folder / "scan.json").write_text(json.dumps(names))
    return folder / "scan.nii.gz", folder / "labels.nii.gz"


@pytest.fixture
def viewer(scan: tuple[Path, Path], niivue: Path, root: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The command as a user runs it: the URL that it prints, and its process."""
    command = [sys.executable, "-m", "vesal", "view", *map(str, scan), "--no-browser", "--threads", "2"]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process
        process.kill()


def in_slice(tab: Tab, drawn: np.ndarray, mask: np.ndarray) -> float:
    """Dice of what is drawn in the only slice and a mask (rows, columns) of it."""
    left, top, width, height = tab.axial()
    return overlap(drawn[top : top + height, left : left + width], enlarged(mask, height, width))


@pytest.mark.slow
def test_a_real_case_is_shown_and_a_second_target_found(
    browser: object, viewer: tuple[str, subprocess.Popen[str]], truth: np.ndarray
) -> None:
    url, process = viewer
    tab = Tab(browser.new_page(viewport={"width": 1000, "height": 700}))  # type: ignore[attr-defined]
    tab.open(url)
    page = tab.page
    assert list(tab.labels()) == ["right kidney", "liver"]
    assert all(tab.drawn(name).any() for name in tab.labels()), "three planes through the liver"

    page.click("[data-view=axial]")
    page.click("text=liver")
    slice_ = int(tab.labels()["liver"]["centre"][0])
    assert in_slice(tab, tab.drawn("liver"), truth[slice_] == LIVER) > 0.9
    columns = np.nonzero(tab.drawn("liver"))[1]
    assert columns.mean() < tab.canvas().shape[1] / 2, "the patient's right is on the left"

    page.uncheck("[aria-label='show liver']")
    assert not tab.drawn("liver").any()
    page.check("[aria-label='show liver']")
    assert tab.drawn("liver").any()
    soft = tab.canvas().mean()
    page.click("[data-window=brain]")
    assert abs(tab.canvas().mean() - soft) > 1
    page.click("[data-window='soft tissue']")

    page.click("#go")
    page.wait_for_selector("#said.error")
    assert "nothing to run" in page.inner_text("#said")
    page.fill("#text", "spleen")
    page.click("#go")
    page.wait_for_selector("body[data-state=ready]:not([data-version='1'])")
    assert set(tab.labels()) == {"spleen", "right kidney", "liver"}
    slice_ = int(tab.labels()["spleen"]["centre"][0])
    assert in_slice(tab, tab.drawn("spleen"), truth[slice_] == SPLEEN) > 0.6
    assert np.nonzero(tab.drawn("spleen"))[1].mean() > tab.canvas().shape[1] / 2

    page.click("[data-view=render]")
    assert tab.drawn("liver").any() and tab.drawn("spleen").any()
    base = url.rsplit("/", 2)[0]
    assert {u for u in tab.urls if not u.startswith((base, "data:"))} == set()
    assert tab.problems == [
        "Failed to load resource: the server responded with a status of 400 (Bad Request)"
    ]
    page.close()
    assert process.wait(SAFETY_S) == 0, "it ends with its tab"


@pytest.mark.slow
def test_points_and_a_box_are_where_they_were_put(
    browser: object, niivue: Path, make_page: Callable[..., Page]
) -> None:
    """In a slice whose columns run to the patient's left and whose rows run backwards, as the case's axes."""
    case = made_case(axis_codes=CANONICAL)
    served = make_page(case, Capabilities(boxes=True, points=True, unnamed=True), assets=read_assets())
    served.model.go_on.set()
    tab = Tab(browser.new_page(viewport={"width": 1000, "height": 700}))  # type: ignore[attr-defined]
    tab.open(served.server.url)
    page = tab.page
    _, rows, columns = case.image.shape
    page.click("[data-view=axial]")
    middle = case.image.shape[0] // 2

    def voxel(h: int, w: int) -> tuple[float, float]:
        return tab.at((h + 0.5) / rows, (w + 0.5) / columns)

    page.check("[value=inside]")
    page.mouse.click(*voxel(2, 8))
    page.mouse.click(*tab.at(0.5, 1.05))
    assert "outside of the image" in page.inner_text("#said")
    page.check("[value=outside]")
    page.mouse.click(*voxel(6, 1))
    page.check("[value=box]")
    page.mouse.move(*voxel(2, 7))
    page.mouse.down()
    page.mouse.move(*voxel(3, 8))
    page.mouse.move(*voxel(3, 9))
    page.mouse.up()
    assert "1 point inside, 1 point outside, a box" in page.inner_text("#marked")
    page.click("#go")
    page.wait_for_selector("body[data-state=ready][data-version='1']")
    (ran,) = served.model.cases
    depth = {point.voxel[0] for point in ran.user.points[1]}
    assert len(depth) == 1 and abs(depth.pop() - middle) <= 1
    assert [(p.voxel[1:], p.foreground) for p in ran.user.points[1]] == [((2, 8), True), ((6, 1), False)]
    (box,) = ran.user.boxes[1]
    assert (box.start[1:], box.stop[1:]) == ((2, 7), (4, 10))
    assert page.inner_text("#marked") == "", "they were used"
    assert tab.drawn("marked").any()
    assert tab.problems == []
    page.close()


@pytest.mark.slow
def test_in_a_sagittal_plane_the_front_is_on_the_left_and_the_head_above(
    browser: object, niivue: Path, make_page: Callable[..., Page]
) -> None:
    """As in the report: radiologists' convention."""
    case = made_case(axis_codes=CANONICAL)
    served = make_page(case, assets=read_assets())
    depth, rows, columns = case.image.shape
    parts = {"front": np.zeros(case.image.shape, bool), "head": np.zeros(case.image.shape, bool)}
    parts["front"][: depth // 2, : rows // 3] = True
    parts["head"][-(depth // 3) :, rows // 2 :] = True
    for name, mask in parts.items():
        served.session.labels.add(name, "", mask)
    tab = Tab(browser.new_page(viewport={"width": 1000, "height": 700}))  # type: ignore[attr-defined]
    tab.open(served.server.url)
    tab.page.click("[data-view=sagittal]")
    (front_y, front_x), (head_y, head_x) = (np.argwhere(tab.drawn(name)).mean(0) for name in parts)
    assert columns > 1 and front_x < head_x and head_y < front_y
    assert front_x < tab.canvas().shape[1] / 2 < head_x
    assert tab.problems == []
    tab.page.close()
