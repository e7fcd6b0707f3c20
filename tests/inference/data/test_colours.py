"""Colours of targets."""

import numpy as np
import pytest

from vesal.inference.data.colours import PALETTE, colour_of, hex_of

BLIND = {
    "none": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
"""Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB."""
TO_XYZ = np.array([[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]])
WHITE = np.array([0.9505, 1.0, 1.0888])


def _lab(kind: str) -> np.ndarray:
    """(n,3) CIELAB of the palette as eyes of a kind see it."""
    rgb = np.array(PALETTE) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ np.array(BLIND[kind]).T, 0, 1) @ TO_XYZ.T / WHITE
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


@pytest.mark.parametrize("kind", BLIND)
def test_no_two_colours_look_alike(kind: str) -> None:
    lab = _lab(kind)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1000 * np.eye(len(lab))

    assert len(PALETTE) >= 20
    assert apart.min() > 14


def test_no_colour_is_a_grey() -> None:
    assert np.hypot(*_lab("none")[:, 1:].T).min() > 15


def test_ids_begin_at_one_and_colours_come_again() -> None:
    assert colour_of(1) == PALETTE[0]
    assert colour_of(len(PALETTE) + 1) == PALETTE[0]
    assert hex_of(colour_of(1)) == "#e69f00"
