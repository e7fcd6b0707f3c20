"""Parts of the body, and patients who are on one side of the split."""

from pathlib import Path

import pytest

from vesal.training.anatomy import ANY, Anatomy

pytest.importorskip("torch", reason="training needs torch")

from vesal.inference.prompts.vocabulary import load_vocabulary  # noqa: E402
from vesal.training.store import _patient, read_rules, without_patients  # noqa: E402

PARTS = {"head", "neck", "upper chest", "lower chest", "abdomen", "pelvis", "cell", ANY}


def test_sets_and_concepts_lie_in_known_parts() -> None:
    anatomy = Anatomy.read()
    assert set(anatomy.bodies) == set(read_rules())
    assert frozenset().union(*anatomy.bodies.values()) | frozenset().union(*anatomy.parts.values()) == PARTS
    assert set(anatomy.parts) <= set(load_vocabulary().concepts)


@pytest.mark.parametrize(
    ("dataset", "concept", "owners", "absent"),
    [
        ("CT_HeadNeck", "liver", ["CT_TotalSegExamples"], True),
        ("CT_HeadNeck", "kidney", ["CT_AMOS"], True),
        ("CT_HeadNeck", "esophagus", ["CT_TotalSegExamples"], False),
        ("CT_Synthetic", "parotid gland", ["CT_HeadNeck"], True),
        ("CT_TotalSegExamples", "larynx", ["CT_HeadNeck"], False),
        ("MR_SpinalCord", "brainstem", ["MR_BrainFreeSurfer"], False),
        ("MR_Hippocampus", "spinal cord", ["MR_SpinalCord", "CT_HeadNeck"], False),
        ("MR_Heart_ACDC", "liver", ["CT_TotalSegExamples"], False),
        ("CT_Sarcoma", "brainstem", ["CT_HeadNeck"], False),
        ("MR_Prostate", "soft tissue sarcoma", ["MR_Sarcoma"], False),
        ("CT_Unheard", "liver", ["CT_TotalSegExamples"], False),
        ("CT_HeadNeck", "aorta", ["CT_AMOS"], False),  # nothing is known of where it lies
    ],
)
def test_what_is_certainly_not_there(dataset: str, concept: str, owners: list[str], absent: bool) -> None:
    anatomy = Anatomy.read()
    assert anatomy.is_absent(dataset, anatomy.where(concept, owners)) is absent


def test_no_patient_is_on_both_sides_in_whatever_modality(shared: Path) -> None:
    """The data's own split keeps patients apart over all modalities: nothing is left to take out."""
    train, val = (sorted((shared / "data" / split).glob("*/*.npz")) for split in ("train", "val"))
    sarcomas = {_patient(path) for path in train if path.parent.name == "CT_Sarcoma"}
    assert len(sarcomas) == 36 and sarcomas == {_patient(p) for p in train if p.parent.name == "PET_Sarcoma"}
    assert len(train) > 700 and len(val) > 100 and without_patients(train, val) == train


def test_patients_are_known_across_sets_and_files_by_their_names() -> None:
    paths = [Path(n) for n in ("CT_Sarcoma_STS-010.npz", "US_Prostate_obs041.npz", "MR_Prostate_train15.npz")]
    held_out = [Path(n) for n in ("MR_Sarcoma_STS-010.npz", "MR_ProstateSmooth_obs053.npz")]
    assert without_patients(paths, held_out) == paths[1:]
