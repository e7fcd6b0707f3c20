"""The sample families, a line each: how the registry finds them, and what writes their weights."""

from collections.abc import Callable
from pathlib import Path

from tests.samples.box_weights import write_box_weights
from tests.samples.slice_weights import write_slice_weights

SAMPLES: dict[str, tuple[str, Callable[..., Path]]] = {
    "sample-slices": ("tests.samples.slice_family:SliceFamily", write_slice_weights),
    "sample-boxes": ("tests.samples.box_family:BoxFamily", write_box_weights),
}
