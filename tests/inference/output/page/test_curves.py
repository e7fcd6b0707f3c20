"""Curves and histograms, by the points that they are drawn of."""

import re

import numpy as np
import pytest

from vesal.inference.output.page.curves import FLOOR, MAX_POINTS, TOP, histogram, slice_curve


def points_of(svg: str) -> np.ndarray:
    """(n, 2) x and y of the area."""
    found = re.search(r'points="([^"]*)"', svg)
    assert found
    return np.array([[float(value) for value in point.split(",")] for point in found[1].split()])


@pytest.mark.parametrize("voxels", [[0, 3, 9, 0, 0], [9, 5, 0, 2], [4], [7] * 400, [0, 1, 0, 0, 0, 1, 0]])
def test_the_area_stands_on_its_axis(voxels: list[int]) -> None:
    """Also where the target is in the first or the last slice; its peak is at the top."""
    points = points_of(slice_curve(np.array(voxels), 0.5, "#112233", 0, "")[0])
    assert points[0, 1] == points[-1, 1] == FLOOR and points[:, 1].min() == TOP
    assert (np.diff(points[:, 0]) >= 0).all() and len(points) <= MAX_POINTS + 2


def test_the_curve_says_in_words_where_the_target_is() -> None:
    """Slices from 1 on, and the largest area."""
    svg, told = slice_curve(np.array([0, 3, 900, 5, 0]), 0.5, "#112233", 2, ", counted towards S")
    assert "slices 2 to 4 of 5, counted towards S, most in slice 3, 4.5 cm²" in svg
    assert told == "area" and "presence" not in svg


def test_presence_is_a_line_where_the_network_tells_it() -> None:
    """From the axis to the top, with gaps where nothing was told."""
    presence = np.array([0.0, 1.0, 0.25, np.nan, np.nan, 0.5, 0.75, 0.5, 0.0])
    svg, told = slice_curve(np.full(9, 4), 0.5, "#112233", 0, "", presence)
    lines = [part for part in re.findall(r'<polyline points="([^"]*)" class="presence"', svg)]
    heights = [[float(point.split(",")[1]) for point in line.split()] for line in lines]
    assert heights == [[FLOOR, TOP, 76], [56, 36, 56, FLOOR]]
    assert told.startswith("presence") and "presence above 0.5 in slices 2 to 7" in svg
    assert slice_curve(np.full(9, 4), 0.5, "#112233", 0, "", np.full(9, np.nan))[1] == "area"


def test_a_histogram_counts_every_volume() -> None:
    """Bars are as high as their counts, outliers are drawn over them."""
    svg = histogram([10.0, 10.0, 10.0, 100.0], [False, False, False, True], "liver")
    bars = [float(height) for height in re.findall(r'height="([\d.]+)" class="bar"', svg)]
    assert bars == [FLOOR - TOP, pytest.approx((FLOOR - TOP) / 3, abs=0.1)]
    assert svg.count('class="odd"') == 1 and "median 10 ml, 1 outlier" in svg
