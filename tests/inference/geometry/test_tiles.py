"""Windows and their weight: every recorded one."""

import zlib

import numpy as np

from tests.inference.families.published.recorded import arrays, dhw, rows
from vesal.inference.geometry.tiles import blending_weight, padding, tile_bounds, tiles


def flat(found):
    return [[v for bounds in tile for v in bounds] for tile in found]


def test_all_recorded_splits_are_reproduced(shared):
    recorded = rows(shared, "split_3d")
    assert len(recorded) == 19
    for row in recorded:
        # The function is blind to what an axis is called: the recording's (h,w,d) goes in as it is.
        assert list(padding(row["shape"], row["crop"])) == row["padding"]
        assert flat(tiles(row["padded"], row["crop"])) == row["idx"]
        bare = row["idx_without_padding"] or row["idx"]
        assert flat(tiles(row["shape"], row["crop"])) == bare


def test_all_560_recorded_paddings_and_window_counts_are_reproduced(shared):
    for row in rows(shared, "read_npz_decisions"):
        shape, crop = row["new_shape"], row["crop"]
        assert list(padding(shape, crop)) == row["padding"]
        padded = [n + p for n, p in zip(shape, row["padding"], strict=True)]
        assert padded == row["padded"]
        found = flat(tiles(padded, crop))
        assert (len(found), found[-1]) == (row["n_patches"], row["last_idx"])


def test_all_recorded_weights_are_the_same_to_the_bit(shared):
    known, recorded = arrays(shared, "gaussian"), rows(shared, "gaussian")
    assert len(recorded) == 6
    for name, row in recorded.items():
        crop = tuple(int(n) for n in name.split("x"))
        weight = blending_weight(crop)
        assert (weight.dtype, weight.shape) == (np.float16, crop)
        assert zlib.crc32(weight.tobytes()) == row["crc32"], name
        assert (float(weight.min()), float(weight.max())) == (row["min"], row["max"])
        assert int((weight == weight.min()).sum()) == row["n_at_min"]
        assert np.array_equal(weight[:8, :8, :8], known[f"corner_{name}"])
        if f"map_{name}" in known:
            assert np.array_equal(weight, known[f"map_{name}"])


def test_windows_cover_every_voxel():
    for length in range(1, 80):
        seen = np.zeros(length, bool)
        for first, stop in tile_bounds(length, 16):
            seen[first:stop] = True
        assert seen.all(), length


def test_the_order_of_axes_is_kept():
    assert tiles((8, 8, 12), (8, 8, 8)) == [((0, 8), (0, 8), (0, 8)), ((0, 8), (0, 8), (4, 12))]
    assert dhw([1, 2, 3]) == (3, 1, 2)
