"""Labels of a bank that stand for targets of the vocabulary."""

import pytest

from vesal.inference.data.prompt import Target
from vesal.inference.prompts.bank_labels import BankLabels, vocabulary_labels
from vesal.inference.prompts.vocabulary import load_vocabulary

LABELS = (
    "kidney left", "right kidney", "kidneys", "kidney lesion", "renal tumour", "tumor of the left kidney",
    "c7 vertebra", "right adrenal gland", "adrenal glands", "oesophagus", "deltoid muscle", "left-sided lung",
)  # fmt: skip


@pytest.mark.parametrize(
    ("target", "sentence", "label"),
    [
        (Target("kidney", "left"), "", "kidney left"),
        (Target("kidney", "right"), "", "right kidney"),
        (Target("kidney"), "", "kidneys"),
        (Target("lung", "left"), "", "left-sided lung"),
        (Target("lung", "right"), "", None),
        (Target("lung"), "", None),
        (Target("esophagus"), "", "oesophagus"),
        (Target("vertebra c7"), "", "c7 vertebra"),
        (Target("vertebra c6"), "", None),
        (Target("adrenal gland", "left"), "", None),
        (Target("kidney lesion"), "lesions in the kidney", "kidney lesion"),
        (Target("kidney lesion"), "a renal tumor on CT", "renal tumour"),
        (Target("kidney lesion", "left"), "left renal mass", "tumor of the left kidney"),
        (Target("kidney lesion", "right"), "right renal mass", None),
    ],
)
def test_a_target_is_found_by_its_names_and_its_side(
    target: Target, sentence: str, label: str | None
) -> None:
    assert BankLabels(LABELS, load_vocabulary()).of(target, sentence) == label


def test_labels_are_in_the_order_of_names() -> None:
    found = BankLabels(("renal", "kidney lesion", "kidney"), load_vocabulary()).of(Target("kidney"))
    assert found == "kidney"


@pytest.mark.parametrize(
    ("labels", "target", "sentence", "label"),
    [
        (("kidney", "renal"), Target("kidney"), "renal parenchyma", "kidney"),
        (("humerus", "humeral head"), Target("humerus"), "the humeral head in CT", "humeral head"),
        (("humerus", "humeral head"), Target("humerus"), "the humerus in CT", "humerus"),
        (
            ("heart chamber ventricle left", "left ventricle"),
            Target("left ventricle"),
            "heart chambers",
            "left ventricle",
        ),
        (("kidney lesion", "kidney tumor"), Target("kidney lesion"), "renal tumor", "kidney tumor"),
        (("brain tumor", "glioma"), Target("brain tumor"), "glioma in MRI", "glioma"),
    ],
)
def test_the_label_nearest_to_the_sentence_counts(
    labels: tuple[str, ...], target: Target, sentence: str, label: str
) -> None:
    assert BankLabels(labels, load_vocabulary()).of(target, sentence) == label


def test_the_vocabulary_needs_what_it_knows() -> None:
    rows = vocabulary_labels(LABELS, load_vocabulary())
    assert [LABELS[row] for row in range(len(LABELS)) if row not in rows] == ["deltoid muscle"]
    assert rows == sorted(rows)
    vocabulary = load_vocabulary()
    every = [*vocabulary.targets(), *vocabulary.terms]
    assert vocabulary_labels(every, vocabulary) == list(range(len(every)))
