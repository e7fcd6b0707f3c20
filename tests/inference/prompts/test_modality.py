"""Modality from sentences, from the names of file and dataset, from the histogram, in this order."""

import json
from pathlib import Path

import numpy as np
import pytest

from vesal.inference.prompts.modality import choose_modality, image_modality, name_modality, sentence_modality
from vesal.inference.prompts.parser import parse_prompts
from vesal.inference.prompts.vocabulary import load_vocabulary

VOCABULARY = load_vocabulary()
EMPTY = np.zeros((2, 2, 2), np.uint8)


def volume(values: dict[int, int]) -> np.ndarray:
    """A (10,10,10) volume with so many voxels of each value."""
    flat = np.repeat(np.array(list(values), np.uint8), list(values.values()))
    return flat.reshape(10, 10, 10)


@pytest.fixture(scope="module")
def sentences(shared: Path) -> list[tuple[str, str]]:
    """(dataset, sentence) of the challenge file."""
    data = json.loads((shared / "challenge" / "CVPR25_TextSegFMData_with_class.json").read_text())
    return [
        (dataset, sentence)
        for dataset, entry in data.items()
        for key, listed in entry.items()
        if key != "instance_label"
        for sentence in listed
    ]


def test_the_modality_agrees_with_the_dataset_wherever_a_challenge_sentence_carries_one(sentences) -> None:
    for dataset, sentence in sentences:
        wanted = name_modality(dataset, VOCABULARY)
        assert wanted is not None
        assert sentence_modality(sentence, VOCABULARY) in (None, wanted), (dataset, sentence)


def test_exactly_the_321_bare_names_carry_no_modality(sentences, shared: Path) -> None:
    bare = {(d, s) for d, s in sentences if sentence_modality(s, VOCABULARY) is None}
    stored = json.loads((shared / "fixtures" / "medals" / "extract_info.json").read_text())["dataset_prompts"]
    # Found independently by the published keyword rules: columns 0, 3, 4 are dataset, sentence, modality.
    assert bare == {(row[0], row[3]) for row in stored if row[4] is None}
    assert sum(sentence_modality(s, VOCABULARY) is None for _, s in sentences) == 321


@pytest.mark.parametrize(
    ("sentence", "modality"),
    [
        ("BUS lanes", None),
        ("urinary tract and duct", None),
        ("STEM cells", None),
        ("give us the liver", None),
        ("pelvic bone", None),
        ("prostate, seen by US", "US"),
        ("STEM cells in CT", "CT"),
        ("CTA of the aorta", "CT"),
        ("infarct in late gadolinium enhancement", "MR"),
        ("infarct in late enhancement", "MR"),
        ("late enhancement of the renal cortex in CT", "CT"),
        ("EM mitochondria", "Microscopy"),
        ("PET-CT lesion", "PET"),
        ("lesion on PET/MR", "PET"),
        ("18F-FDG PET", "PET"),
        ("prostate in pelvic CT", "CT"),
        ("cross-sectional pelvic MR scans", "MR"),
        ("left lung in cross-sectional scans", "CT"),
        ("infarct on DWI", "MR"),
        ("echocardiographic view", "US"),
        ("liver on gradient echo MR", "MR"),
        ("heart on echo", "US"),
        ("light sheet imaging", "Microscopy"),
        ("MRI", "MR"),
        ("", None),
    ],
)
def test_modality_of_a_sentence(sentence: str, modality: str | None) -> None:
    assert sentence_modality(sentence, VOCABULARY) == modality


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("CT_AMOS_amos_0018", "CT"),
        ("mri-brain", "MR"),
        ("MR_x", "MR"),
        ("US_Cardiac_1", "US"),
        ("PET_HeadNeck", "PET"),
        ("autoPET_001", "PET"),
        ("Microscopy_cremi", "Microscopy"),
        ("CTX_1", None),
        ("case_CT", None),
        ("", None),
    ],
)
def test_modality_of_a_file_name(name: str, modality: str | None) -> None:
    assert name_modality(name, VOCABULARY) == modality


def test_the_majority_of_the_prompts_wins_over_the_file_name() -> None:
    choice = choose_modality(["CT", None, "MR", "MR"], "US_1", EMPTY, VOCABULARY)
    assert (choice.modality, choice.source) == ("MR", "prompts")


def test_a_tie_goes_to_the_modality_seen_first() -> None:
    assert choose_modality([None, "US", "CT"], "x", EMPTY, VOCABULARY).modality == "US"


def test_the_file_name_wins_over_the_image() -> None:
    choice = choose_modality([None], "MR_1", volume({0: 600, 120: 380, 255: 20}), VOCABULARY)
    assert (choice.modality, choice.source) == ("MR", "file name")


def test_the_dataset_speaks_where_the_file_name_does_not() -> None:
    """`--dataset CT_AMOS` for `patient.npz`: the bare names of the challenge's file carry no modality."""
    choice = choose_modality([None], "patient", EMPTY, VOCABULARY, "CT_AMOS")
    assert (choice.modality, choice.source) == ("CT", "dataset")
    assert "'CT_AMOS'" in choice.why
    assert choose_modality([None], "MR_1", EMPTY, VOCABULARY, "CT_AMOS").source == "file name"


def test_the_image_decides_last() -> None:
    choice = choose_modality([None], "scan", volume({0: 600, 120: 380, 255: 20}), VOCABULARY)
    assert (choice.modality, choice.source) == ("CT", "image statistics")


@pytest.mark.parametrize(
    ("values", "modality"),
    [
        ({0: 200, 120: 793, 255: 7}, "CT"),
        ({0: 200, 120: 794, 255: 6}, "MR"),
        ({0: 199, 120: 794, 255: 7}, "MR"),
        ({0: 120, 25: 880}, "PET"),
        ({0: 120, 26: 880}, "MR"),
        ({0: 300, 60: 700}, "US"),
        ({0: 300, 61: 700}, "MR"),
        ({0: 1000}, "MR"),
    ],
)
def test_histogram_rules_at_their_edges(values: dict[int, int], modality: str) -> None:
    assert image_modality(volume(values))[0] == modality


@pytest.mark.parametrize("shape", [(0, 4, 4), (1, 1, 1), (500, 2, 2)])
def test_any_shape_has_a_modality(shape: tuple[int, int, int]) -> None:
    assert image_modality(np.full(shape, 9, np.uint8))[0] == "MR"


@pytest.mark.slow
def test_the_image_tells_ct_from_mr_on_the_validation_data(shared: Path) -> None:
    files = sorted((shared / "data" / "val").glob("[CM][TR]_*/*.npz"))
    right = 0
    for path in files:
        with np.load(path) as stored:
            right += image_modality(stored["imgs"])[0] == path.name.split("_")[0]
    assert right >= 0.98 * len(files) > 90


def test_the_key_modality_of_the_prompts_decides_first() -> None:

    choice = choose_modality(["CT"], "CT_1", EMPTY, VOCABULARY, given="MRI")
    assert (choice.modality, choice.source) == ("MR", "prompts") and "'MRI'" in choice.why
    assert choose_modality(["CT"], "x", EMPTY, VOCABULARY, given="nonsense").modality == "CT"


def test_numbers_decide_after_names_and_before_intensities() -> None:

    choice = choose_modality([None], "x", EMPTY, VOCABULARY, hounsfield=True)
    assert (choice.modality, choice.source) == ("CT", "numbers")
    assert choose_modality([None], "MR_1", EMPTY, VOCABULARY, hounsfield=True).modality == "MR"


@pytest.mark.parametrize(("sentence", "name", "guessed"), [("liver", "x", True), ("liver", "CT_1", False)])
def test_prompts_know_whether_their_modality_is_guessed(sentence: str, name: str, guessed: bool) -> None:
    (prompt,), _ = parse_prompts({1: sentence}, name=name, image=EMPTY)
    assert prompt.guessed is guessed
    (prompt,), _ = parse_prompts({1: f"{sentence} in CT"}, name=name, image=EMPTY)
    assert prompt.guessed is False
