"""Where weights lie: ours beside the package, or a folder of the user's."""

import os
from pathlib import Path

WEIGHTS = Path(__file__).parents[2] / "weights"
"""Our own, one folder a profile; in a checkout and in an installed package they lie beside `inference`."""


def weights_folder(name: str) -> Path:
    """The folder that `name` means: a path if it holds a slash, else a name in `WEIGHTS`, else a folder here.

    Ours wins: a folder `nano` where somebody happens to start has nothing to do with the weights.
    """
    ours, here = WEIGHTS / name, Path(name)
    return here if os.sep in name or (here.is_dir() and not ours.is_dir()) else ours
