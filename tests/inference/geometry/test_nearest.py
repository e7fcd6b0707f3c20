"""Nearest neighbours against what torch gave, and by hand."""

import numpy as np
import pytest

from vesal.inference.geometry.nearest import nearest, nearest_exact


@pytest.mark.parametrize(
    ("n_out", "n_in", "plain", "exact"),
    [
        (2, 4, [0, 2], [1, 3]),
        (4, 2, [0, 0, 1, 1], [0, 0, 1, 1]),
        (3, 5, [0, 1, 3], [0, 2, 4]),
        (5, 3, [0, 0, 1, 1, 2], [0, 0, 1, 2, 2]),
        (1, 7, [0], [3]),
        (3, 1, [0, 0, 0], [0, 0, 0]),
    ],
)
def test_by_hand(n_out: int, n_in: int, plain: list[int], exact: list[int]) -> None:
    assert nearest(n_out, n_in).tolist() == plain
    assert nearest_exact(n_out, n_in).tolist() == exact


def test_as_torch() -> None:
    torch = pytest.importorskip("torch", reason="it is what is compared with")
    sizes = [*range(1, 130), 255, 256, 257, 333, 512, 656, 752, 880]
    pairs = [(32, n) for n in sizes] + [(256, n) for n in sizes] + [(n, 32) for n in sizes]
    pairs += [(n, 256) for n in sizes] + [(41, 2), (47, 2), (55, 2)]
    for n_out, n_in in pairs:
        line = torch.arange(n_in, dtype=torch.float32)[None, None, :, None, None]
        for mode, find in (("nearest", nearest), ("nearest-exact", nearest_exact)):
            theirs = torch.nn.functional.interpolate(line, size=(n_out, 1, 1), mode=mode)
            np.testing.assert_array_equal(find(n_out, n_in), theirs.numpy().ravel(), f"{n_out} {n_in} {mode}")
