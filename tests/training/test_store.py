"""Labelled volumes: which targets they have, and what is left out."""

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")

from tests.training.made import LIVER, PROMPTS, SHAPE, SPLEEN, made_volume, rule, write_volume  # noqa: E402
from vesal.inference.prompts.vocabulary import load_vocabulary
from vesal.training.augment import draw_flips  # noqa: E402
from vesal.training.store import Target, learnt, read_folder, read_rules, read_volume  # noqa: E402

LIVER_TARGET = Target("liver", "liver", None, "CT", 1)
SPLEEN_TARGET = Target("spleen", "spleen", None, "CT", 3)


def test_prompts_become_targets_with_their_labels(tmp_path: Path) -> None:
    volume = made_volume(tmp_path)
    assert volume.targets == (LIVER_TARGET, SPLEEN_TARGET)
    assert (volume.name, volume.dataset, volume.instance) == ("CT_Made_1", "CT_Made", False)
    assert (volume.image[LIVER] == 200).all() and (volume.labels[SPLEEN] == 3).all()


def test_spacing_is_turned_to_the_array_s_order(tmp_path: Path) -> None:
    assert made_volume(tmp_path, spacing_xyz=(1.0, 2.0, 5.0)).spacing_dhw_mm == (5.0, 2.0, 1.0)


def test_statistics_are_those_of_the_image(tmp_path: Path) -> None:
    volume = made_volume(tmp_path)
    assert volume.statistics == pytest.approx((np.mean(volume.image), np.std(volume.image)))


def test_a_side_is_kept_apart_from_the_concept(tmp_path: Path) -> None:
    prompts = {"1": "Left kidney in CT", "3": "Right kidney in CT", "instance_label": 0}
    targets = made_volume(tmp_path, prompts=prompts).targets
    assert [(t.name, t.concept, t.side) for t in targets] == [
        ("left kidney", "kidney", "left"),
        ("right kidney", "kidney", "right"),
    ]


def test_the_objects_of_an_instance_set_are_all_1(tmp_path: Path) -> None:
    prompts = {"1": "Cell nuclei in fluorescence microscopy", "instance_label": 1}
    volume = made_volume(tmp_path, dataset="Microscopy_Made", prompts=prompts)
    assert volume.instance
    assert [t.label for t in volume.targets] == [1]
    assert set(np.unique(volume.labels)) == {0, 1}
    assert (volume.labels[SPLEEN] == 1).all()  # was 3 in the file


def test_classes_without_voxel_target_or_leave_are_left_out(tmp_path: Path) -> None:
    prompts = PROMPTS | {"2": "Pancreas in abdominal CT", "4": "Xyzzy of the plugh"}
    path = write_volume(tmp_path / "CT_Made" / "CT_Made_1.npz", prompts)
    assert read_volume(path).targets == (LIVER_TARGET, SPLEEN_TARGET)
    assert read_volume(path, skip=("sple",)).targets == (LIVER_TARGET,)
    assert read_volume(path, skip=("abdominal", "pleen")).targets == (LIVER_TARGET, SPLEEN_TARGET)


def test_labels_of_another_shape_are_named(tmp_path: Path) -> None:
    path = write_volume(tmp_path / "CT_Made_1.npz")
    with np.load(path, allow_pickle=True) as archive:
        content = dict(archive)
    np.savez_compressed(path, **(content | {"gts": content["gts"][:-1]}))
    with pytest.raises(ValueError, match=rf"gts is \(13, 24, 20\), imgs \({SHAPE[0]}, 24, 20\)"):
        read_volume(path)


def test_a_folder_is_read_in_order_of_names_without_sets_that_have_no_rule(tmp_path: Path) -> None:
    for dataset, number in (("CT_B", 2), ("CT_B", 1), ("CT_A", 1), ("CT_Unknown", 1)):
        write_volume(tmp_path / dataset / f"{dataset}_{number}.npz")
    nothing = {"1": "Xyzzy of the plugh", "instance_label": 0}
    write_volume(tmp_path / "CT_A" / "CT_A_0.npz", nothing)
    volumes = read_folder(tmp_path, {"CT_A": rule(), "CT_B": rule(skip=("spleen",))})
    assert [v.name for v in volumes] == ["CT_A_1", "CT_B_1", "CT_B_2"]
    assert [len(v.targets) for v in volumes] == [2, 1, 1]


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no DATASET"):
        read_folder(tmp_path, {"CT_A": rule()})


def test_every_rule_can_be_followed() -> None:
    concepts = load_vocabulary().concepts
    for name, found in read_rules().items():
        assert found.weight >= 0 and found.body, name
        assert 0 <= found.crops <= 1 and 0 <= found.flipped <= 1, name
        draw_flips(found.flips, np.random.default_rng(0))
        assert all(other in concepts and concepts[other].target for other in found.also), name
        for start in found.skip:
            assert any(concept.startswith(start) for concept in concepts), f"{name} skips {start!r}: no such"


def test_no_set_with_sides_is_mirrored_along_one_axis(shared: Path) -> None:
    """One mirrored axis turns a left organ into a right one under the name of a left one.

    But for the abdomen: liver and spleen tell which kidney is the left one, however the case is stored.
    """
    phrasings = json.loads((shared / "data" / "prompts.json").read_text())
    sides = ("left ", "right ")
    for name, found in read_rules().items():
        if name in ("CT_TotalSegExamples", "CT_Lung"):
            continue
        sentences = [s for key, texts in phrasings.get(name, {}).items() if key.isdigit() for s in texts]
        named = [
            s for s in sentences if s.lower().startswith(sides) and "ventric" not in s and "atri" not in s
        ]
        assert not named or found.flips != "any", f"{name} may be mirrored but asks for {named[0]!r}"


def test_a_real_volume_is_read(shared: Path) -> None:
    paths = sorted((shared / "data" / "train" / "MR_Hippocampus").glob("*.npz"))
    volume = read_volume(paths[0])
    assert {t.concept for t in volume.targets} == {"anterior hippocampus", "posterior hippocampus"}
    assert np.asarray(volume.image).dtype == np.uint8 and volume.labels.shape == volume.image.shape


def test_every_set_of_the_data_has_a_rule(shared: Path) -> None:
    train, val = ({p.name for p in (shared / "data" / split).iterdir()} for split in ("train", "val"))
    # Of label maps, of sharp prostates, and of nothing.
    deformed = {"CT_AbdomenDeformed", "MR_AbdomenDeformed"}
    made = {"CT_Synthetic", "MR_Synthetic", "MR_ProstateSmoothed", "Microscopy_DrawnNuclei", *deformed}
    rules = read_rules()
    assert train | val | made == set(rules)
    # Sets of `val` alone are never trained on, the licence of one forbids it.
    assert val - train == {"CT_IRCAD", "CT_HeadNeckPlan"}
    assert rules.keys() - learnt(rules).keys() == val - train


def test_a_set_without_weight_is_read_and_not_learnt() -> None:
    rules = {"CT_A": rule(), "CT_B": rule(weight=0)}
    assert learnt(rules) == {"CT_A": rule()}
