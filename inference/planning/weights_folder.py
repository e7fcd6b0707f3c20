"""Folders of weights: Vesal's own, or one of the user's."""

import os
from pathlib import Path

MANIFEST = "manifest.json"
"""In every folder of weights; what it holds is in `manifest.py`."""
WEIGHTS = Path(__file__).parents[2] / "weights"
"""Our own, one folder a profile; in a checkout and in an installed package they lie beside `inference`."""


def weights_folder(name: str) -> Path:
    """The folder that `name` means: a path if it holds a slash, else a name in `WEIGHTS`, else a folder here.

    Ours comes first: a folder `nano` in the working directory is hardly meant.
    """
    ours, here = WEIGHTS / name, Path(name)
    return here if os.sep in name or (here.is_dir() and not ours.is_dir()) else ours
