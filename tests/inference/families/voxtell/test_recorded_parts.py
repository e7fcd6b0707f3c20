"""Single steps of VoxTell as its public code was recorded doing them: windows, weights, crop, numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vesal.inference.data.orientation import towards
from vesal.inference.families.voxtell.case_plan import RAS
from vesal.inference.families.voxtell.layouts import Cropped, window_starts, window_weight
from vesal.inference.families.voxtell.preprocess import moments, nonzero_box
from vesal.inference.geometry.resample import to_view
from vesal.inference.geometry.views import VolumeGrid, whole
from vesal.inference.io.file_axes import axes_of_affine


@pytest.fixture(scope="module")
def units(shared: Path) -> Path:
    """The folder of single functions."""
    return shared / "fixtures/voxtell/units"


@pytest.fixture(scope="module")
def told(units: Path) -> dict[str, Any]:
    """Numbers of the single functions."""
    found: dict[str, Any] = json.loads((units / "units.json").read_text())
    return found


def test_windows_begin_where_they_did(told: dict[str, Any]) -> None:
    for each in told["steps"]:
        sides = zip(each["image"], each["tile"], strict=True)
        assert [window_starts(n, m, each["step"]) for n, m in sides] == each["starts"], each


@pytest.mark.parametrize(("name", "size", "largest"), [("a", (32, 48, 40), 10.0), ("b", (24, 20, 28), 1.0)])
def test_weights_are_the_recorded_ones(units: Path, name: str, size: Any, largest: float) -> None:
    stored = np.load(units / "gaussian.npz")
    np.testing.assert_array_equal(window_weight(size, False, largest), stored[f"{name}_fp32"])
    np.testing.assert_array_equal(window_weight(size, True, largest), stored[f"{name}_fp16"])


def test_weights_of_the_published_window(units: Path) -> None:
    stored = np.load(units / "gaussian.npz")
    weight = window_weight((192, 192, 192), True)
    line = np.arange(192)
    np.testing.assert_array_equal(weight[:, 96, 96], stored["c_fp16_line_axis0"])
    np.testing.assert_array_equal(weight[line, line, line], stored["c_fp16_diagonal"])
    np.testing.assert_array_equal(weight[::16, ::16, ::16], stored["c_fp16_sample16"])


CROPPED = ("closed_hole", "tunnel_negative_values", "all_zero", "lonely_voxels_minus_zero", "nothing_to_crop")


@pytest.mark.parametrize("name", CROPPED)
def test_the_crop_is_the_recorded_one(units: Path, name: str) -> None:
    stored = np.load(units / "crop_to_nonzero.npz")
    box = nonzero_box(stored[f"{name}_input"][0])
    np.testing.assert_array_equal(np.transpose([box.start, box.stop]), stored[f"{name}_box"])


@pytest.mark.parametrize("name", ["integers", "constant", "large_offset", "tiny_spread", "crop_view"])
def test_normalised_numbers_are_the_recorded_ones(units: Path, name: str) -> None:
    stored = np.load(units / "zscore.npz")
    volume = stored[f"{name}_input"][0]
    limit = 1e-3 if name == "large_offset" else 1e-6
    np.testing.assert_allclose(
        moments(volume).normalise(volume.copy()), stored[f"{name}_output"][0], atol=limit
    )


def test_padding_is_centred_and_the_odd_voxel_is_behind(units: Path, told: dict[str, Any]) -> None:
    stored = np.load(units / "pad.npz")
    for number, each in enumerate(told["pad"]):
        shape, least = tuple(each["shape"][1:]), tuple(each["new_shape"])
        view = Cropped(least).view(whole(shape), VolumeGrid(shape, (1.0, 1.0, 1.0)), 10**9, 0.0)
        assert list(view.shape) == each["result"][1:]
        assert [list(side) for side in view.tiling.inside] == each["slicer"][1:]  # type: ignore[attr-defined]
        if f"{number}_input" in stored:
            np.testing.assert_array_equal(
                to_view(stored[f"{number}_input"][0], view), stored[f"{number}_output"][0]
            )


def test_axes_are_turned_as_recorded(units: Path, told: dict[str, Any]) -> None:
    stored = np.load(units / "orientation.npz")
    volume = stored["array_xyz"].transpose()
    for number, each in enumerate(told["orientation"]):
        affine = stored[f"{number}_affine"]
        axes, _ = axes_of_affine("case", volume.shape, affine)
        canonical = axes.orientation
        assert axes.engine_codes is not None
        turned = canonical.then(towards(axes.engine_codes, RAS))
        np.testing.assert_array_equal(turned.turn(volume), stored[f"{number}_zyx"][0], str(each))
        np.testing.assert_allclose(turned.axes(axes.spacing_dhw_mm), stored[f"{number}_spacing"], rtol=1e-6)
        np.testing.assert_array_equal(turned.back(stored[f"{number}_zyx"][0]), volume)
