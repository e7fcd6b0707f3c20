"""Slices, contours and sizes of a case's pictures."""

import base64
import io
from dataclasses import replace

import numpy as np
from PIL import Image

from tests.inference.output.page.made import BOX, made_case, made_labels
from vesal.inference.data.colours import colour_of
from vesal.inference.output.page.contours import contour_png, edges_of
from vesal.inference.output.page.pictures import (
    ALL_TARGETS,
    MAX_TARGETS,
    NO_TARGET,
    CasePictures,
    _length,
    pictures_of,
)
from vesal.inference.output.page.scaling import picked, picture_size, resized, resized_mask
from vesal.inference.output.page.slices import areas_of, shared_slices


def decoded(uri: str) -> np.ndarray:
    """(rows, columns, 4) of a picture in a page."""
    with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as picture:
        return np.asarray(picture.convert("RGBA"))


def test_areas_are_the_volumes_own() -> None:
    """Along each axis, as a plain count has them."""
    labels = np.random.default_rng(1).integers(0, 4, (5, 6, 7))
    for id_, areas in areas_of(labels, [1, 2, 9], False).items():
        for axis, along in enumerate(areas):
            others = tuple(i for i in range(3) if i != axis)
            assert np.array_equal(along, (labels == id_).sum(axis=others))
    assert set(areas_of(labels, [1, 2, 9], False)) == {1, 2}
    assert np.array_equal(areas_of(labels, [1], True)[1][0], (labels > 0).sum((1, 2)))


def test_targets_share_a_slice_where_each_is_near_its_largest() -> None:
    """A third one that is not there gets its own."""
    counts = {1: np.array([0, 8, 10, 0]), 2: np.array([0, 10, 5, 0]), 3: np.array([0, 0, 0, 1])}
    assert shared_slices(counts) == {1: 1, 2: 1, 3: 3}


def test_pictures_have_the_proportions_of_millimetres() -> None:
    """A slice 10 mm high and 40 mm wide is four times as wide as high."""
    assert picture_size((10.0, 40.0), 200) == (50, 200)
    assert picture_size((0.01, 40.0), 200) == (1, 200)


def test_means_stay_when_a_picture_gets_smaller_or_larger() -> None:
    """An even slice stays even; a ramp stays a ramp."""
    assert np.allclose(resized(np.full((7, 9), 3), (4, 20)), 3)
    ramp = np.tile(np.arange(64.0), (3, 1))
    assert np.allclose(resized(ramp, (3, 16))[0, 2:-2], (np.arange(16) * 4 + 1.5)[2:-2], atol=1e-3)
    assert np.array_equal(picked(np.arange(4)[None], (1, 2)), [[1, 3]])


def test_what_is_thinner_than_a_pixel_is_still_drawn() -> None:
    """A voxel of 512 is seen in a picture of 64; nothing stays nothing."""
    mask = np.zeros((512, 512), bool)
    assert not resized_mask(mask, (64, 64)).any()
    mask[100, 200] = True
    small = resized_mask(mask, (64, 64))
    assert small.any() and small[12, 25]


def test_contours_are_inside_and_between_objects() -> None:
    """The inner border of each label; also where the picture ends, and where two objects touch."""
    labels = np.zeros((6, 8), int)
    labels[1:5, 1:4], labels[1:5, 4:8] = 1, 2
    edge = edges_of(labels)
    assert not edge[labels == 0].any()
    assert not edge[2:4, 2].any() and edge[1:5, 1].all() and edge[1:5, 3].all() and edge[1:5, 4].all()
    assert edge[1:5, 7].all()


def test_a_contour_is_transparent_elsewhere() -> None:
    """Its line has the colour, its surroundings a halo; inside and outside nothing covers the slice."""
    edge = np.zeros((40, 40), bool)
    edge[10, 10:30] = True
    picture = contour_png(edge, (230, 159, 0))
    pixels = decoded("," + base64.b64encode(picture).decode())
    assert pixels[10, 15].tolist() == [230, 159, 0, 255]
    assert pixels[11, 15].tolist() == [0, 0, 0, 170] and pixels[20, 15, 3] == 0
    dark = decoded("," + base64.b64encode(contour_png(edge, (68, 34, 170))).decode())
    assert dark[11, 15].tolist() == [255, 255, 255, 170]


def test_the_contour_is_on_the_target() -> None:
    """Where the picture of the slice is bright, in each plane; R is on the left, A and S at the top."""
    pictures = pictures_of(made_case(), made_labels(), [1, 2], 200_000)
    for key, contour in pictures.shown[1]:
        part = pictures.slices[key]
        line = (decoded(contour)[:, :, :3] == colour_of(1)).all(2) & (decoded(contour)[:, :, 3] == 255)
        rows, columns = (np.flatnonzero(line.any(axis)) for axis in (1, 0))
        wanted = np.zeros(made_case().image.shape)
        wanted[BOX] = 1
        box = resized(part.plane.cut(wanted, part.index), part.size) > 0.5
        assert abs(rows[0] - np.flatnonzero(box.any(1))[0]) <= 2, part.plane.name
        assert abs(columns[-1] - np.flatnonzero(box.any(0))[-1]) <= 2, part.plane.name


def test_the_pictures_of_a_case_keep_to_their_share() -> None:
    """Many targets in noise make them smaller, and only the largest are drawn."""
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 61, (30, 64, 64)).astype(np.uint8)
    case = replace(made_case(), image=rng.integers(0, 256, labels.shape).astype(np.uint8))
    pictures = pictures_of(case, labels, list(range(1, 61)), 500_000)
    assert len(pictures.shown) == MAX_TARGETS and pictures.left_out == 60 - MAX_TARGETS
    few = pictures_of(made_case(), made_labels(), [1, 2], 60_000)
    assert _length(few.slices, few.shown) <= 60_000
    large = pictures_of(made_case(), made_labels(), [1, 2], 200_000)
    assert sides(large) > sides(few)


def test_a_small_share_has_all_targets_together() -> None:
    """Every slice once, with each target's contour in its colour; every target is on one in each plane."""
    pictures = pictures_of(made_case(), made_labels(), [1, 2], 14_000)
    assert list(pictures.shown) == [ALL_TARGETS]
    keys = [key for key, _ in pictures.shown[ALL_TARGETS]]
    assert sorted(keys) == sorted(pictures.slices)
    assert [key[0] for key in keys] == sorted(key[0] for key in keys)
    found = {
        (pictures.slices[key].plane.axis, id_)
        for key, contour in pictures.shown[ALL_TARGETS]
        for id_ in (1, 2)
        if (decoded(contour) == (*colour_of(id_), 255)).all(2).any()
    }
    assert found == {(axis, id_) for axis in range(3) for id_ in (1, 2)}


def sides(pictures: CasePictures) -> int:
    """Pixels of the pictures' slices."""
    return sum(decoded(part.uri).shape[0] for part in pictures.slices.values())


def test_objects_are_one_target_with_a_contour_each() -> None:
    """Their values are no prompts' ids."""
    case = made_case(instance=True)
    pictures = pictures_of(case, made_labels() * 40, [1], 100_000)
    assert list(pictures.shown) == [1]
    assert pictures.areas[1].sum() == np.count_nonzero(made_labels())


def test_an_empty_result_shows_the_middle_of_the_volume() -> None:
    """Without contour."""
    pictures = pictures_of(made_case(), np.zeros_like(made_labels()), [1, 2], 100_000)
    assert list(pictures.shown) == [NO_TARGET]
    assert [contour for _, contour in pictures.shown[NO_TARGET]] == ["", "", ""]
    assert {part.index for part in pictures.slices.values()} == {10, 15, 20}
    assert decoded(pictures.thumbnail).shape[1] == 72
