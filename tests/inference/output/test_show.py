"""A result in a notebook."""

from __future__ import annotations

import io
import sys
from types import ModuleType
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from tests.inference.fake_models import make_model
from tests.inference.viewer.made_page import BRIGHT, made_case
from vesal.inference.data.colours import colour_of
from vesal.inference.data.orientation import CANONICAL
from vesal.inference.output import show as shown
from vesal.inference.output.show import montage, show


class Widget:
    """What `ipyniivue` gives."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.volumes: list[Any] = []

    def load_volumes(self, volumes: list[dict[str, Any]]) -> None:
        """Keep them."""
        self.volumes = [Volume(**volume) for volume in volumes]


class Volume:
    """One volume of a widget."""

    def __init__(self, **fields: Any) -> None:
        self.fields = fields
        self.colours: dict[str, Any] = {}

    def set_colormap_label(self, colours: dict[str, Any]) -> None:
        """Keep them."""
        self.colours = colours


def labels_of(value: int) -> np.ndarray:
    """(D, H, W): the bright part of the made case."""
    labels = np.zeros(made_case().image.shape, np.uint8)
    labels[BRIGHT] = value
    return labels


def without_ipyniivue(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where it is not installed."""
    monkeypatch.setitem(sys.modules, "ipyniivue", None)


def test_the_picture_outlines_a_label_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    without_ipyniivue(monkeypatch)
    case = made_case(axis_codes=CANONICAL)
    picture = show(case, labels_of(2), {2: "bright"})
    pixels = np.asarray(Image.open(io.BytesIO(picture._repr_png_())).convert("RGB"))
    assert len(pixels) == shown.ROW_PIXELS + shown.GAP
    axial = pixels[: shown.ROW_PIXELS, : round(shown.ROW_PIXELS * 10 / 16)]
    rows, columns = np.nonzero((axial == colour_of(2)).all(2))
    edges = np.array([rows.min(), rows.max() + 1]) * 8 / shown.ROW_PIXELS
    assert edges == pytest.approx([2, 4], abs=0.1)
    edges = np.array([columns.min(), columns.max() + 1]) * 10 / axial.shape[1]
    assert edges == pytest.approx([7, 10], abs=0.1)


def test_feet_are_below() -> None:
    """The bright part lies near the first slice; in the coronal plane it is in the lower half."""
    pixels = np.asarray(Image.open(io.BytesIO(montage(made_case(), labels_of(2)).png)).convert("RGB"))
    beside = pixels[: shown.ROW_PIXELS, round(shown.ROW_PIXELS * 10 / 16) + shown.GAP :]
    assert np.nonzero((beside == colour_of(2)).all(2))[0].min() >= shown.ROW_PIXELS / 2


def test_a_result_without_labels_is_a_picture_too() -> None:
    assert Image.open(io.BytesIO(montage(made_case(), labels_of(0)).png)).size[1] > 0


def test_niivue_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("ipyniivue")
    module.NiiVue = Widget  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ipyniivue", module)
    widget = show(made_case(axis_codes=CANONICAL), labels_of(2), {2: "bright"})
    assert widget.options == {"is_radiological_convention": True, "is_orientation_text_visible": True}
    image, labels = widget.volumes
    seen = [nibabel.Nifti1Image.from_bytes(each.fields["data"]) for each in (image, labels)]
    assert np.array_equal(np.asanyarray(seen[0].dataobj) > 100, np.asanyarray(seen[1].dataobj) == 2)
    assert labels.colours["labels"] == ["", "bright"] and labels.colours["I"] == [0, 2]
    assert (labels.colours["R"][1], labels.colours["G"][1], labels.colours["B"][1]) == colour_of(2)


def test_a_result_shows_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    without_ipyniivue(monkeypatch)
    image = np.zeros((32, 32, 32), np.uint8)
    image[8:20, 8:20, 8:20] = 200
    result = make_model().segment(image, (1.0, 1.0, 1.0), ["liver in CT"])
    assert result.show().png.startswith(b"\x89PNG")
