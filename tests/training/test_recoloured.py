"""Copies of real abdomens with other contrast."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from vesal.training import recoloured  # noqa: E402
from vesal.training.recoloured import COPIES, LEAST, recolour, recoloured_volumes, source  # noqa: E402
from vesal.training.shelf import fill, read  # noqa: E402
from vesal.training.store import Volume, read_rules, read_volume  # noqa: E402
from vesal.training.synthetic import AMOS, TISSUES, row_of  # noqa: E402

SAID = (
    "Liver",
    "Spleen",
    "Left kidney",
    "Right kidney",
    "Stomach",
    "Aorta",
    "Prostate",
    "Left lung lower lobe",
)
GREY = (165, 160, 190, 190, 130, 255, 125, 0)
"""Of each structure; 102 is 0 HU."""
FAT = 38
SPACING_XYZ = (1.0, 3.0, 3.0)


def at(number: int) -> tuple[slice, ...]:
    """Each structure a box of its own."""
    z, y = divmod(number, 4)
    return (slice(6 + 16 * z, 18 + 16 * z), slice(6 + 18 * y, 20 + 18 * y), slice(20, 100))


def write(folder: Path, said: tuple[str, ...]) -> Path:
    rng = np.random.default_rng(0)
    image = np.full((40, 80, 120), FAT, np.uint8)
    image[:, :, 108:] = 0  # air
    labels = np.zeros(image.shape, np.uint8)
    for n, grey in enumerate(GREY[: len(said)]):
        labels[at(n)] = n + 1
        image[at(n)] = np.clip(grey + rng.normal(0, 3, image[at(n)].shape), 0, 255)
    image[24:26, 8:16, 40:60] = 0  # gas in the stomach
    path = folder / "CT_TotalSegExamples" / f"CT_TotalSegExamples_{len(said)}.npz"
    path.parent.mkdir(exist_ok=True)
    prompts = {str(n): f"{words} in whole body CT" for n, words in enumerate(said, 1)}
    prompts = np.array({**prompts, "instance_label": 0}, dtype=object)
    np.savez_compressed(path, imgs=image, gts=labels, spacing=np.array(SPACING_XYZ), text_prompts=prompts)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path, SAID)


@pytest.fixture
def real(path: Path) -> Volume:
    return read_volume(path)


def core(labels: np.ndarray, label: int) -> np.ndarray:
    """Voxels well inside a structure."""
    from scipy.ndimage import binary_erosion

    return binary_erosion(labels == label, iterations=2)


@pytest.mark.parametrize("seed", range(4))
def test_organs_get_the_grey_of_their_tissue_and_what_is_not_labelled_stays(real: Volume, seed: int) -> None:
    copy = recolour(real, "x", np.random.default_rng(seed))
    image, labels = copy.image[:].astype(float), copy.labels[:]
    assert image.shape == labels.shape and copy.spacing_dhw_mm == (3.0, 3.0, 3.0)
    low, high = TISSUES["ct"]["window_hu"]
    for label, structure in ((1, "liver"), (3, "kidney_left"), (7, "prostate")):
        least, most = ((hu - low) / (high - low) * 255 for hu in np.add(row_of(structure)["hu"], (-20, 20)))
        assert least < np.median(image[core(labels, label)]) < min(most, 256)
    background = (image > 0) & (labels == 0)
    assert np.median(image[background]) == pytest.approx(FAT, abs=8)


def test_contrast_is_another_in_each_copy(real: Volume) -> None:
    medians = []
    for seed in range(6):
        copy = recolour(real, "x", np.random.default_rng(seed))
        medians.append(np.median(copy.image[:][core(copy.labels[:], 3)]))
    assert np.ptp(medians) > 20


def test_gas_and_what_lies_outside_of_the_scan_stay_black(real: Volume) -> None:
    copy = recolour(real, "x", np.random.default_rng(1))
    image = copy.image[:]
    assert (image[:, :, 116:] == 0).all()
    stomach = image[copy.labels[:] == 5]
    assert 0.005 < (stomach < 10).mean() < 0.2


def test_targets_are_those_of_amos_by_its_names(real: Volume) -> None:
    copy = recolour(real, "x", np.random.default_rng(0))
    names = {"liver", "spleen", "left kidney", "right kidney", "stomach", "aorta", "prostate/uterus"}
    assert {t.name for t in copy.targets} == names and copy.dataset == "CT_Synthetic"
    assert not (copy.labels[:] == 8).any()  # the lung is none of them


def test_only_volumes_with_many_organs_are_copied(path: Path, tmp_path: Path) -> None:
    few = write(tmp_path, SAID[: LEAST - 1])
    made = list(recoloured_volumes([few, path]))
    assert [v.name for v in made] == [f"{path.stem}_{n}" for n in range(COPIES)]
    again = recoloured_volumes([path])
    assert all(np.array_equal(a.image[:], b.image[:]) for a, b in zip(made, again, strict=True))


def test_copies_go_to_a_shelf_of_a_set_with_a_rule(path: Path, tmp_path: Path) -> None:
    fill(tmp_path / "shelf", source([path]))
    assert len(read(tmp_path / "shelf", read_rules())) == COPIES
    assert source([path]).key != source([]).key


def test_real_volumes_have_organs_enough(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recoloured, "COPIES", 1)
    paths = sorted((shared / "data" / "train" / "CT_TotalSegExamples").glob("*.npz"))
    made = {v.name.rsplit("_", 1)[0]: v for v in recoloured_volumes(paths)}
    assert len(made) == 3
    whole = next(v for name, v in made.items() if name.endswith("example-ct"))
    assert len(whole.targets) == len(AMOS) - 1  # all but the esophagus
