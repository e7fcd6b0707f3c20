"""Drawn nuclei beside the few labelled ones: touching, of many sizes and textures (``cells.py``).

The same drawings teach the head that tells objects apart; here the mask learns from them, with a gap where
two touch, so that fewer are left for a rule to cut.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from vesal.training import cells
from vesal.training.gaps import apart
from vesal.training.shelf import Source
from vesal.training.store import Volume
from vesal.training.synthetic import volume_of

MADE_OF, DATASET = "Microscopy_Nuclei", "Microscopy_DrawnNuclei"
VERSION = 1
"""Raised when the drawing changes, so that shelves are filled anew."""
COUNT = 160
CELLS_EVERY = 7
"""Each so many of them is asked for as whole cells, as plants' are."""


def source(paths: Sequence[Path]) -> Source:
    """The volumes for a shelf. ``paths``: labelled ones, which these go beside; nothing is made of them."""
    del paths
    return Source(f"{DATASET} {json.dumps([VERSION, COUNT, cells.VOXELS, cells.RADII])}", nuclei_volumes())


def nuclei_volumes(seed: int = 0) -> Iterator[Volume]:
    """``COUNT`` drawn volumes; the same seed gives the same ones."""
    for number, drawn in enumerate(islice(cells.drawn_cells(seed), COUNT)):
        what = "Cell nuclei" if number % CELLS_EVERY else "Cells"
        labels = apart(drawn.labels)
        if labels.any():
            volume = volume_of(
                f"{number}",
                DATASET,
                drawn.image,
                labels,
                drawn.spacing_dhw_mm,
                {1: f"{what} in light microscopy"},
            )
            yield replace(volume, instance=True)
