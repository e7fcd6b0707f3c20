"""Volumes unpacked on disk."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.training.made import LIVER, made_volume, rule, write_volume
from vesal.training.shelf import INDEX, Source, files, fill, read
from vesal.training.store import Volume

RULES = {"CT_Made": rule()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A labelled file."""
    return write_volume(tmp_path / "data" / "CT_Made" / "CT_Made_1.npz")


def test_what_is_put_on_the_shelf_is_what_comes_from_it(tmp_path: Path, path: Path) -> None:
    fill(tmp_path / "shelf", files([path]))
    (found,) = read(tmp_path / "shelf", RULES)
    given = made_volume(tmp_path / "again")
    assert not isinstance(found.image, np.ndarray)  # it stays on disk
    assert np.array_equal(found.image[:], given.image) and np.array_equal(found.labels[:], given.labels)
    assert np.array_equal(found.image[LIVER], given.image[LIVER])  # and is read in parts
    assert found.targets == given.targets and found.statistics == given.statistics
    assert (found.name, found.dataset, found.instance) == (given.name, given.dataset, given.instance)
    assert found.spacing_dhw_mm == given.spacing_dhw_mm
    for label, place in given.places.items():
        assert found.places[label].start == place.start and found.places[label].stop == place.stop
        assert np.array_equal(found.places[label].seeds, place.seeds)


def test_a_filled_shelf_is_left_alone_until_its_sources_change(tmp_path: Path, path: Path) -> None:
    shelf, made = tmp_path / "shelf", []

    def volumes(number: int) -> Iterator[Volume]:
        made.append(number)
        yield made_volume(tmp_path / "again")

    for number, key in enumerate(("a", "a", "b")):
        source = files([path])
        fill(shelf, Source(key, volumes(number)))
        del source
    assert made == [0, 2]


def test_a_shelf_of_an_older_format_is_filled_again(tmp_path: Path, path: Path) -> None:
    shelf = tmp_path / "shelf"
    fill(shelf, files([path]))
    content = json.loads((shelf / INDEX).read_text())
    (shelf / INDEX).write_text(json.dumps(content | {"format": 1, "volumes": []}))
    fill(shelf, files([path]))
    assert len(read(shelf, RULES)) == 1


def test_a_file_of_another_size_is_another_key(tmp_path: Path, path: Path) -> None:
    before = files([path]).key
    assert files([path]).key == before
    write_volume(path, prompts={"1": "Liver in abdominal CT, as large as it may be", "instance_label": 0})
    assert files([path]).key != before


def test_a_shelf_that_was_left_half_filled_is_filled_again(tmp_path: Path, path: Path) -> None:
    def breaks() -> Iterator[Volume]:
        yield made_volume(tmp_path / "again")
        raise RuntimeError("the disk is full")

    shelf = tmp_path / "shelf"
    with pytest.raises(RuntimeError, match="the disk is full"):
        fill(shelf, Source("a", breaks()))
    assert not (shelf / INDEX).exists()
    fill(shelf, Source("a", [made_volume(tmp_path / "again")]))
    assert len(json.loads((shelf / INDEX).read_text())["volumes"]) == 1


def test_rules_choose_sets_and_classes_when_the_shelf_is_read(tmp_path: Path, path: Path) -> None:
    shelf = tmp_path / "shelf"
    fill(shelf, files([path]))
    (found,) = read(shelf, {"CT_Made": rule(skip=("liv",))})
    assert [t.concept for t in found.targets] == ["spleen"]
    assert read(shelf, {"CT_Made": rule(skip=("liv", "spleen"))}) == []
    assert read(shelf, {"CT_Other": rule()}) == []


def test_views_of_a_volume_on_disk_are_those_of_one_in_memory(tmp_path: Path, path: Path) -> None:
    torch = pytest.importorskip("torch", reason="training needs torch")
    from vesal.training.views import coarse_item, fine_item

    shelf = tmp_path / "shelf"
    fill(shelf, files([path]))
    volumes: list[Volume] = [*read(shelf, RULES), made_volume(tmp_path / "again")]
    pairs = []
    for volume in volumes:
        rng = np.random.default_rng(3)
        coarse = coarse_item(volume, rule(flips="any"), 2 * 16**3, rng)
        sure = np.ones((len(coarse.targets), *coarse.view.shape), np.float32)
        pairs.append((coarse, fine_item(coarse, sure, rule(crops=0.5), 2 * 16**3, rng)))
    for disk, memory in zip(*pairs, strict=True):
        assert disk.view == memory.view
        torch.testing.assert_close(disk.image, memory.image)
        torch.testing.assert_close(disk.truth, memory.truth)


def test_without_blosc2_volumes_are_npz_and_lie_in_memory(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "blosc2", files([path]))
    (whole,) = read(tmp_path / "blosc2", RULES, whole=True)
    monkeypatch.setitem(sys.modules, "blosc2", None)
    fill(tmp_path / "npz", files([path]))
    assert [f.suffix for f in (tmp_path / "npz").iterdir() if f.name != INDEX] == [".npz"]
    (found,) = read(tmp_path / "npz", RULES)
    for volume in (whole, found):
        given = made_volume(tmp_path / "again")
        assert isinstance(volume.image, np.ndarray) and isinstance(volume.labels, np.ndarray)
        assert np.array_equal(volume.image, given.image) and np.array_equal(volume.labels, given.labels)
        assert volume.targets == given.targets
    with pytest.raises(ImportError, match=r"CT_Made\.CT_Made_1 for Blosc2, which is not installed"):
        read(tmp_path / "blosc2", RULES)
