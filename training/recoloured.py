"""CT of the abdomen with other contrast and a little other shape, made of the few real ones.

Drawn abdomens (``synthetic.py``) have every contrast but no real surroundings; the real scans with most
organs labelled are few and each shows one phase of contrast. Here the real image stays, bent, and every
labelled structure is moved to a value drawn as for the drawn ones (``tissues.json``): its own texture, its
edges and all that is not labelled around it stay as they were scanned.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from vesal.training.shelf import Source, files
from vesal.training.store import Volume, read_volume
from vesal.training.synthetic import AMOS, TISSUES, abdomen_of, bend_knots, bent, draw_values, row_of, thinned

MADE_OF = "CT_TotalSegExamples"
VERSION = 1
"""Raised when the making changes, so that shelves are filled anew."""
COPIES = 8
"""Copies of each volume."""
LEAST = 6
"""Targets of AMOS that a volume must label to be worth copying."""
GAS_HU = -100
"""What is darker inside an organ is gas and stays so."""
EDGE_VOXELS = 0.5
"""Standard deviation of the smoothing of a structure's mask: edges stay partial volume."""


def source(paths: Sequence[Path]) -> Source:
    """The copies of ``paths`` for a shelf; made again when files, tissues or the making change."""
    key = json.dumps([VERSION, COPIES, LEAST, TISSUES, files(paths).key])
    return Source(f"{MADE_OF} {key}", recoloured_volumes(paths))


def recoloured_volumes(paths: Sequence[Path], seed: int = 0) -> Iterator[Volume]:
    """``COPIES`` of each labelled npz with at least ``LEAST`` targets of AMOS, as ``CT_Synthetic``.

    The same files and seed give the same volumes.
    """
    for path in paths:
        real = read_volume(path)
        if sum(_structure(t.name) in AMOS for t in real.targets) < LEAST:
            continue
        for number in range(COPIES):
            rng = np.random.default_rng([seed, number, zlib.crc32(real.name.encode())])
            yield recolour(real, f"{real.name}_{number}", rng)


def recolour(real: Volume, name: str, rng: np.random.Generator) -> Volume:
    """One copy of a CT volume whose image is windowed as ``tissues.json`` says; targets of AMOS stay."""
    at, spacing = thinned(real.spacing_dhw_mm)
    knots = bend_knots(rng)
    labels, image = bent(knots, real.labels[at]), bent(knots, real.image[at], "bilinear")
    structures = {t.label: _structure(t.name) for t in real.targets}
    low, high = TISSUES["ct"]["window_hu"]
    hu = low + image.astype(np.float32) / 255 * (high - low)
    hu += _change(hu, labels, structures, rng) + rng.normal(0, rng.uniform(0, 12), hu.shape)
    hu[image == 0] = low  # outside of scan or window no noise was seen
    return abdomen_of(name, hu, labels, spacing, structures)


def _change(
    hu: np.ndarray, labels: np.ndarray, structures: dict[int, str], rng: np.random.Generator
) -> np.ndarray:
    """(D, H, W) float32 HU to add, so that the median of each structure is a value drawn for it."""
    values = draw_values(rng)
    change = np.zeros(hu.shape, np.float32)
    for label, structure in sorted(structures.items()):
        solid = (labels == label) & (hu > GAS_HU)
        value = values[row_of(structure)["names"][0]] + rng.normal(0, 4)
        if solid.any() and value > GAS_HU:  # a lung stays as it is
            change += (value - np.median(hu[solid])) * gaussian_filter(solid.astype(np.float32), EDGE_VOXELS)
    return change


def _structure(target: str) -> str:
    """``left kidney`` -> ``kidney_left``, as label maps call it."""
    side, _, rest = target.partition(" ")
    return (f"{rest} {side}" if side in ("left", "right") else target).replace(" ", "_")
