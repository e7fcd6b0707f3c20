"""Objects along predicted edges: by hand, against a plain search of ways, and as recorded."""

import heapq
import itertools
from pathlib import Path

import cc3d
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vesal.postprocess import edges as module
from vesal.postprocess.checks import ArrayShapeError
from vesal.postprocess.edges import Edges, cut_along_edges
from vesal.postprocess.instances import Instances, split_instances
from vesal.postprocess.rule import ClassPart, Cut

MM = (1.0, 1.0, 1.0)
RELEASED = Edges(reach_voxels=2, keep_covered=False)


def cut(mask: np.ndarray, edges: np.ndarray, rule: Edges | None = None, spacing_mm=MM) -> Cut:
    """The objects of a mask, with edges (D,H,W) at hand."""
    return cut_along_edges(mask, lambda planes: edges[planes], spacing_mm, rule or Edges())


def row(text: str, rule: Edges | None = None) -> str:
    """Objects of a row: `#` is mask, `|` mask and edge, `.` background."""
    signs = np.array([[list(text)]])
    found = cut(signs != ".", (signs == "|").astype(np.float32), rule)
    assert np.array_equal(found.sizes, np.bincount(found.pieces.ravel())[1:])
    return "".join(".123456789"[n] for n in found.pieces[0, 0])


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("###|###", "1111222"),
        ("##|||##", "1111222"),
        ("#||||#|", "1112222"),
        ("##..##", "11..22"),
        ("##||..|#|", "1111..222"),
        ("......", "......"),
        ("||.##.|", "22.11.3"),
    ],
)
def test_cores_grow_over_the_mask_and_a_part_without_one_is_an_object(text: str, objects: str) -> None:
    """Half way between two cores the first has the voxel."""
    assert row(text) == objects


@pytest.mark.parametrize(
    ("text", "objects"),
    [("#||||||#", "111..222"), ("##|.|##", "111.222"), ("||.#", ".1.1"), ("##...||", "11.....")],
)
def test_released_growth_is_straight_and_ends_after_two_voxels(text: str, objects: str) -> None:
    """It jumps over a gap, and what is edge all through and far from a core is lost."""
    assert row(text, RELEASED) == objects


def test_a_covered_part_stays_with_a_limited_reach_too() -> None:
    assert row("##...||", Edges(reach_voxels=2)) == "11...22"
    assert row("#||||||#", Edges(reach_voxels=1.5)) == "11....22"


def test_the_threshold_is_taken_off_and_nan_is_not() -> None:
    mask, edges = np.ones((1, 1, 5), bool), np.array([[[0, 0, 0.5, 0, 0]]], np.float32)
    assert len(cut(mask, edges).sizes) == 2
    assert len(cut(mask, edges, Edges(threshold=0.51)).sizes) == 1
    assert len(cut(mask, np.where(edges > 0, np.nan, 0)).sizes) == 1


def test_as_recorded(shared: Path) -> None:
    """The released code's own form: scikit-image's labels of the cores, and what they expand to."""
    with np.load(shared / "fixtures" / "biomedparse_v" / "post_io.npz") as recorded:
        mask, edge, cores, out = (recorded[f"inst_{name}"] for name in ("mask", "edge", "label", "out"))
    found = cut(mask > 0, edge.astype(np.float32), RELEASED)
    np.testing.assert_array_equal(found.pieces, out)
    assert found.sizes.tolist() == np.bincount(out.ravel())[1:].tolist()
    whole = cut(mask > 0, edge.astype(np.float32))
    np.testing.assert_array_equal(whole.pieces > 0, mask > 0)
    inside = (mask > 0) & (edge == 0)
    np.testing.assert_array_equal(whole.pieces[inside], cores[inside])


def test_the_nearest_core_of_several_as_scikit_image_expands_labels() -> None:
    """Ties in space: `expand_labels` by SciPy's distance transform and its places."""
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(0)
    mask = rng.random((7, 12, 13)) < 0.95
    edges = (rng.random(mask.shape) < 0.93).astype(np.float32)
    cores = cc3d.connected_components(mask & (edges < 0.5), connectivity=6)
    for reach in (2, 3):
        distance, at = ndimage.distance_transform_edt(cores == 0, return_indices=True)
        expected = np.where((distance <= reach) & mask, cores[tuple(at)], 0)
        found = cut(mask, edges, Edges(reach_voxels=reach, keep_covered=False)).pieces
        np.testing.assert_array_equal(found, expected)


def ways(mask: np.ndarray, core: np.ndarray, costs: tuple[int, int, int]) -> np.ndarray:
    """(D,H,W) the shortest way from a voxel to a core's voxel inside of a mask; inf where there is none."""
    found = np.where(core, 0.0, np.inf)
    heap = [(0, *at) for at in np.argwhere(core).tolist()]
    while heap:
        so_far, *at = heapq.heappop(heap)
        for axis, way in itertools.product(range(3), (-1, 1)):
            there = tuple(x + way * (a == axis) for a, x in enumerate(at))
            inside = all(0 <= x < n for x, n in zip(there, mask.shape, strict=True))
            if inside and mask[there] and so_far + costs[axis] < found[there]:
                found[there] = so_far + costs[axis]
                heapq.heappush(heap, (so_far + costs[axis], *there))
    return found


@given(
    st.tuples(*[st.integers(1, 6)] * 3),
    st.integers(0, 2**32),
    st.floats(0.3, 1),
    st.floats(0, 1),
    st.sampled_from([(1.0, 1.0, 1.0), (5.0, 1.0, 1.1), (0.7, 0.7, 2.1)]),
)
def test_every_voxel_belongs_to_a_nearest_core(
    shape: tuple[int, int, int],
    seed: int,
    density: float,
    edged: float,
    spacing_mm: tuple[float, float, float],
) -> None:
    """Ways in the mask, in mm; objects fill the mask and are 6-connected."""
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < density
    edges = (rng.random(shape) < edged).astype(np.float32)
    found = cut(mask, edges, spacing_mm=spacing_mm)
    np.testing.assert_array_equal(found.pieces > 0, mask)
    assert found.sizes.tolist() == np.bincount(found.pieces.ravel(), minlength=1)[1:].tolist()
    costs = tuple(round(side / min(spacing_mm)) for side in spacing_mm)
    core = mask & (edges < 0.5)
    nearest = ways(mask, core, costs)
    for number in range(1, len(found.sizes) + 1):
        mine = found.pieces == number
        assert cc3d.connected_components(mine, connectivity=6).max() == 1
        if (core & mine).any():
            np.testing.assert_array_equal(ways(mask, core & mine, costs)[mine], nearest[mine])
        else:
            assert np.isinf(nearest[mine]).all(), "a part of the mask without a core"


def test_without_edges_objects_are_the_components_of_the_mask() -> None:
    mask = np.random.default_rng(1).random((6, 7, 8)) < 0.4
    part = ClassPart(mask * np.uint8(3), mask.astype(np.float32), 3, MM)
    found = Edges().cut(part, lambda seconds: False)
    assert found.left_whole == 0, "nothing is left out where there is nothing to separate by"
    by_size = Instances().number(found.pieces, found.sizes)
    np.testing.assert_array_equal(by_size, split_instances(mask))


def test_without_time_objects_stay_whole_and_are_counted() -> None:
    labels = np.array([[[3, 3, 3, 0, 3, 5, 3, 3]]], np.uint8)
    edges = np.array([[[0, 1, 0, 0, 0, 0, 0, 0]]], np.float32)
    part = ClassPart(labels, labels / np.float32(5), 3, MM, lambda planes: edges[planes])
    late = Edges().cut(part, lambda seconds: False)
    assert late.left_whole == 3 and late.pieces[0, 0].tolist() == [1, 1, 1, 0, 2, 0, 3, 3]
    assert Edges().cut(part, lambda seconds: True).sizes.tolist() == [2, 1, 1, 2]


def test_edges_are_read_some_planes_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    mask, edges = rng.random((7, 5, 6)) < 0.8, rng.random((7, 5, 6), np.float32)
    whole, asked = cut(mask, edges), []

    def planes(part: slice) -> np.ndarray:
        asked.append(part)
        return edges[part]

    monkeypatch.setattr(module, "SLAB_VOXELS", 70)
    np.testing.assert_array_equal(cut_along_edges(mask, planes, MM, Edges()).pieces, whole.pieces)
    assert asked == [slice(0, 2), slice(2, 4), slice(4, 6), slice(6, 7)]


def test_of_300_objects_the_255_largest_get_an_id() -> None:
    """One row without a gap: 45 objects of two voxels, then 255 of three."""
    text = "#|" * 45 + "##|" * 255
    signs = np.array([[list(text)]])
    found = cut(np.ones(signs.shape, bool), (signs == "|").astype(np.float32))
    assert len(found.sizes) == 300
    ids = Instances().number(found.pieces, found.sizes)
    assert ids.dtype == np.uint8 and ids.max() == 255
    assert not ids[0, 0, :90].any() and ids[0, 0, 90:].all()


def test_a_flat_mask_is_refused() -> None:
    with pytest.raises(ArrayShapeError, match="wanted 3 axes"):
        cut_along_edges(np.ones((2, 2), bool), None, MM, Edges())
