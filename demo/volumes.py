"""Read the grey-level stacks that the demo's packages hold."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageSequence


def read_tiff(path: Path) -> np.ndarray:
    """Return the pages of a grey-level TIFF stack as (pages, rows, columns), in the file's own type."""
    with Image.open(path) as stack:
        return np.stack([np.asarray(page) for page in ImageSequence.Iterator(stack)])
