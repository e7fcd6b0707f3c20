"""What both runtimes check before a graph runs and do to its results."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from vesal.inference.data.errors import ProfileError


def check_names(path: Path, wanted: tuple[str, ...], given: Mapping[str, np.ndarray]) -> None:
    """Raise ProfileError unless exactly the graph's inputs are given, arrays of any shape by name."""
    if set(given) != set(wanted):
        raise ProfileError(
            f"{path} takes the inputs {', '.join(wanted)}; {', '.join(sorted(given)) or 'none'} came. "
            "Weights and family do not match."
        )


def describe(arrays: Mapping[str, np.ndarray]) -> str:
    """Names and shapes for a message; arrays of any shape."""
    return ", ".join(f"{name} {array.shape}" for name, array in arrays.items())


def as_float32(array: np.ndarray) -> np.ndarray:
    """An array of any shape: half precision widened, everything else as it is."""
    return array.astype(np.float32) if array.dtype == np.float16 else array
