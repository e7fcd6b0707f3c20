"""Images made from label maps."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from vesal.training import synthetic  # noqa: E402
from vesal.training.synthetic import AMOS, TISSUES, LabelMap, make_abdomen, make_head, read_labelmap  # noqa: E402

SPACING = (5.0, 3.0, 3.0)
AT = {
    "liver": (slice(8, 30), slice(20, 50), slice(55, 85)),
    "spleen": (slice(14, 26), slice(36, 52), slice(15, 27)),
    "kidney_left": (slice(6, 20), slice(50, 58), slice(25, 34)),
    "kidney_right": (slice(6, 20), slice(52, 60), slice(60, 69)),
    "stomach": (slice(14, 26), slice(20, 34), slice(24, 46)),
    "aorta": (slice(2, 36), slice(46, 50), slice(44, 49)),
}


def made_map() -> LabelMap:
    """Six boxes where organs would lie, as an AMOS map."""
    labels = np.zeros((38, 80, 100), np.uint16)
    structures = dict(enumerate(AMOS, 1))
    for i, name in structures.items():
        if name in AT:
            labels[AT[name]] = i
    return LabelMap("amos_made", labels, SPACING, structures)


@pytest.fixture
def abdomen() -> LabelMap:
    """See ``made_map``."""
    return made_map()


def test_an_abdomen_has_image_labels_and_targets_of_its_organs(abdomen: LabelMap) -> None:
    made = make_abdomen(abdomen, "amos_made_0", np.random.default_rng(0))
    assert np.asarray(made.image).dtype == np.uint8 and made.image.shape == made.labels.shape
    names = {t.name for t in made.targets}
    assert names == {"liver", "spleen", "left kidney", "right kidney", "stomach", "aorta"}
    assert {t.modality for t in made.targets} == {"CT"}
    for target in made.targets:
        assert (made.labels[:] == target.label).any() and target.label in made.places


def test_the_same_seed_draws_the_same_image_and_another_another(abdomen: LabelMap) -> None:
    images = [make_abdomen(abdomen, "x", np.random.default_rng(seed)).image[:] for seed in (1, 1, 2)]
    assert np.array_equal(images[0], images[1])
    assert images[0].shape != images[2].shape or not np.array_equal(images[0], images[2])


@pytest.mark.parametrize("seed", range(4))
def test_organs_have_the_grey_of_their_tissue_inside_a_body_in_air(abdomen: LabelMap, seed: int) -> None:
    made = make_abdomen(abdomen, "x", np.random.default_rng(seed))
    image, labels = made.image[:], made.labels[:]
    low, high = TISSUES["ct"]["window_hu"]
    grey = {n: (hu - low) / (high - low) * 255 for n, hu in (("least", 42 - 25), ("most", 125 + 25))}
    liver = image[labels == AMOS.index("liver") + 1]
    assert grey["least"] < np.median(liver) < grey["most"]
    corners = image[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert np.median(corners) < 10  # air
    inside = image[labels > 0]
    assert inside.std() > 3  # texture and noise


def test_half_of_the_scans_reach_the_pelvis(abdomen: LabelMap) -> None:
    """The bladder lies 265 mm below the middle of the liver, which no scan that ends at 230 mm shows."""
    labels = np.zeros((110, 80, 100), np.uint16)
    labels[72:] = abdomen.labels
    bladder = AMOS.index("urinary_bladder") + 1
    labels[32:42, 40:55, 40:60] = bladder
    whole = LabelMap("amos_made", labels, SPACING, abdomen.structures)
    made = [make_abdomen(whole, "x", np.random.default_rng(seed)) for seed in range(8)]
    shown = [any(t.name == "urinary bladder" for t in volume.targets) for volume in made]
    assert 2 <= sum(shown) <= 6
    assert all(any(t.name == "liver" for t in volume.targets) for volume in made)


def test_a_head_gives_deep_grey_matter_of_both_sides(tmp_path: Path) -> None:
    labels = np.zeros((48, 48, 48), np.uint16)
    labels[4:44, 4:44, 4:44] = 3
    for n, code in enumerate((10, 49, 11, 50, 12, 51, 13, 52)):
        labels[10 + 3 * n : 12 + 3 * n, 20:28, 20:28] = code
    made = make_head(LabelMap("head", labels, (1.0, 1.0, 1.0), {}), "head_0", np.random.default_rng(0))
    assert {t.name for t in made.targets} == {"thalamus", "caudate nucleus", "putamen", "pallidum"}
    assert {t.side for t in made.targets} == {None} and {t.modality for t in made.targets} == {"MR"}
    assert made.image[:].max() > 20


def test_a_label_map_is_turned_to_depth_height_width(tmp_path: Path) -> None:
    data = np.zeros((4, 5, 6), np.int16)
    data[3, 0, 0] = 6
    nibabel.Nifti1Image(data, np.diag([0.7, 0.8, 5.0, 1])).to_filename(tmp_path / "amos_1.nii.gz")
    found = read_labelmap(tmp_path / "amos_1.nii.gz")
    assert found.labels.shape == (6, 5, 4) and found.labels[0, 0, 3] == 6
    assert found.spacing_dhw_mm == pytest.approx((5.0, 0.8, 0.7))
    assert found.structures[6] == "liver" and found.structures[13] == "duodenum"


def test_every_real_structure_has_a_tissue_and_every_target_a_name(shared: Path) -> None:
    for path in sorted((shared / "data" / "labelmaps").glob("s03*.nii.gz")):
        found = read_labelmap(path)
        assert set(AMOS) - {"prostate"} <= set(found.structures.values())
        for structure in found.structures.values():
            rows = TISSUES["ct"]["rows"]
            assert any(structure.startswith(tuple(row["names"])) for row in rows)


def test_the_source_changes_with_the_label_maps(tmp_path: Path) -> None:
    before = synthetic.synthetic_source(tmp_path).key
    (tmp_path / "amos_1.nii.gz").write_bytes(b"x")
    assert synthetic.synthetic_source(tmp_path).key != before
