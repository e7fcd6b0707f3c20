"""What the numbers of a volume and its spacing mean in a call from Python."""

import numpy as np
import pytest

from tests.inference.fake_models import made_image, make_model

SPACING = (3.0, 1.0, 1.0)


@pytest.mark.parametrize("padding", [None, -2048, np.nan])
def test_hounsfield_units_give_what_their_window_gives(padding: float | None) -> None:
    """The liver of the fake network has brightness 200, which is 154 HU."""
    hounsfield = np.full((32, 32, 32), -1000.0)
    hounsfield[2:30, 2:30, 2:30] = 20
    hounsfield[4:10, 6:14, 5:20] = 154
    windowed = ((hounsfield.clip(-160, 240) + 160) / 400 * 255).astype(np.uint8)
    if padding is not None:
        hounsfield[:, 31:] = padding
    model = make_model()
    want = model.segment(windowed, SPACING, ["liver"], modality="CT")
    for modality in (None, "CT"):
        result = model.segment(hounsfield.astype(np.float32), SPACING, ["liver"], modality=modality)
        assert want.labels.any() and np.array_equal(result.labels, want.labels)
        assert result.report["modality"] == "CT"
        assert any("soft tissue window" in note for note in result.report["notes"])
    assert result.report["modality_source"] == "caller"


def test_spacing_in_metres_counts_in_volumes_too() -> None:
    model, image = make_model(), made_image((32,) * 3, ((slice(4, 10), slice(6, 14), slice(5, 20)), 200))
    in_mm, in_metres = (
        model.segment(image, [mm * unit for mm in (3, 1, 1)], ["liver"]) for unit in (1, 0.001)
    )
    assert in_metres.prompts[0].volume_ml == pytest.approx(in_mm.prompts[0].volume_ml)
    assert in_metres.report["spacing_dhw_mm"] == pytest.approx([3, 1, 1])
    assert any("taken as metres" in note for note in in_metres.report["notes"])
