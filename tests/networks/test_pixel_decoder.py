"""Pixel decoder of BiomedParse-V: the recorded features number for number, and the published sizes."""

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the network's definition needs torch")

from tests.networks.recorded_biomedparse_v import (  # noqa: E402
    assert_recorded,
    read_recorded,
    read_shapes,
    read_weights,
    shapes_of,
)
from vesal.networks.pixel_decoder import (  # noqa: E402
    PIXEL_LARGE,
    PixelDecoder,
    PixelSizes,
    pixel_sizes_of,
)
from vesal.networks.sine_positions import sine_positions  # noqa: E402

PREFIX = "sem_seg_head.pixel_decoder."
HEADS = 4
"""Of the reduced network."""


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Small tensors gain nothing from more."""
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def published(shared: Path) -> PixelDecoder:
    """The reduced pixel decoder of the fixtures."""
    tensors = read_weights(shared, PREFIX)
    model = PixelDecoder(pixel_sizes_of(shapes_of(tensors), HEADS))
    model.load_state_dict(tensors)
    return model.eval()


@torch.no_grad()
def test_recorded_features(published: PixelDecoder, shared: Path) -> None:
    names = ("res2", "res3", "res4", "res5", "transformer_memory", "ms0", "ms1", "ms2", "mask_features")
    recorded = read_recorded(shared, *names)
    features = [torch.from_numpy(recorded[name]) for name in names[:4]]
    memory = published.transformer(published.input_proj(features[-1]))
    assert_recorded(memory, recorded["transformer_memory"])
    masks, scales = published(features)
    for ours, name in zip((*scales, masks), names[5:], strict=True):
        assert_recorded(ours, recorded[name])


def test_names_and_shapes_are_the_published_ones(shared: Path) -> None:
    with torch.device("meta"):
        ours = shapes_of(PixelDecoder(PIXEL_LARGE).state_dict())
    theirs = read_shapes(shared, PREFIX)
    assert ours == theirs
    assert sum(int(np.prod(shape)) for shape in theirs.values()) == 32_193_536
    assert pixel_sizes_of(theirs, 8) == PIXEL_LARGE


@torch.no_grad()
def test_sides_that_are_no_multiples() -> None:
    """The features of a coarser resolution are brought to the sides of the finer one, whatever they are."""
    sides = [(9, 13), (5, 7), (3, 4), (2, 2)]
    decoder = PixelDecoder(PixelSizes((4, 8, 16, 32), 32, 64, 1, 16, 4)).eval()
    masks, scales = decoder([torch.randn(2, 4 << i, *s) for i, s in enumerate(sides)])
    assert masks.shape == (2, 64, 9, 13)
    assert [tuple(s.shape) for s in scales] == [(2, 32, 2, 2), (2, 32, 3, 4), (2, 32, 5, 7)]


def test_positions_are_sines_of_rows_then_columns() -> None:
    found = sine_positions(3, 5, 8).reshape(3, 5, 8)
    for row in range(3):
        for column in range(5):
            wanted = []
            for place, side in ((row, 3), (column, 5)):
                angle = (place + 1) / side * 2 * math.pi
                wanted += [math.sin(angle), math.cos(angle), math.sin(angle / 100), math.cos(angle / 100)]
            assert found[row, column].tolist() == pytest.approx(wanted, abs=1e-5)


def test_sizes_need_all_tensors_that_tell_them() -> None:
    with pytest.raises(KeyError, match="input_proj"):
        pixel_sizes_of({}, 8)
